"""Which requests run, what each reads in the next pass, and what is kept of it for others."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from torch import Tensor

from trimtab.models.decoder import Decoder, Read, State
from trimtab.text.engine.events import Counters
from trimtab.text.engine.prefix_tree import Kept, PrefixTree, Reuse
from trimtab.text.engine.stream import Stream

# A request waits for another that is reading the same beginning only where this saves reading so many tokens.
WORTH_WAITING: Final = 16


@dataclass(frozen=True)
class Start:
    """Where the reading of a prompt can begin.

    Attributes:
        state: has read the first ``reused`` tokens.
        reused: tokens that need not be read.
        kept: what the state was forked from, held; None where it begins with nothing.
        logits: (vocabulary,) after the whole prompt, where nothing of it must be read.
    """

    state: State
    reused: int
    kept: Kept | None
    logits: Tensor | None


class Scheduler:
    """Requests that wait and requests that run.

    Attributes:
        decoder: reads.
        counters: tokens prefilled, reused and generated.
        tree: what was read and may be shared.
        batch: most requests that run at once.
        chunk: most prompt tokens in one pass.
        waiting: in the order they came.
        running: in the order they were let in; each owns a state.
    """

    def __init__(self, decoder: Decoder, counters: Counters, *, cache_bytes: int, batch: int, chunk: int) -> None:
        """Begin with nothing to do.

        Args:
            decoder: reads.
            counters: are kept up to date.
            cache_bytes: most memory of kept states.
            batch: most requests that run at once.
            chunk: most prompt tokens in one pass.
        """
        self.decoder, self.counters = decoder, counters
        self.batch, self.chunk = batch, chunk
        self.tree = PrefixTree(cache_bytes, rewindable=decoder.rewindable)
        self.waiting: deque[Stream] = deque()
        self.running: list[Stream] = []

    def admissible(self) -> Iterator[Stream]:
        """Yield who may be let in, while there is room; those whose beginning is being read now come next time."""
        for stream in list(self.waiting):
            if len(self.running) >= self.batch:
                return
            if not self._should_wait(stream):
                yield stream

    def let_in(self, stream: Stream) -> None:
        """Let a request that waits run."""
        self.waiting.remove(stream)
        adapter, prompt = stream.request.adapter, stream.request.prompt
        known = 0 if self.decoder.rewindable else self.tree.shared(adapter, prompt)
        start = self.begin(adapter, prompt)
        stream.state, stream.reused, stream.logits = start.state, start.reused, start.logits
        stream.fork_at = known if start.reused < known < len(prompt) else 0
        if start.kept is not None:
            stream.kept.append(start.kept)
        self.running.append(stream)

    def plan(self) -> list[tuple[Stream, Read]]:
        """Say what to read next: one token of every answer, and as much of the prompts as a pass may hold."""
        planned, room = [], self.chunk
        for stream in self.running:
            if stream.logits is not None or stream.state is None:
                continue
            if not stream.in_prompt:
                unread = tuple(stream.unread)
                planned.append((stream, Read(stream.state, unread, written=len(unread) == 1)))
            elif room:
                read = self._prompt_read(stream, stream.state, room)
                planned.append((stream, read))
                room -= len(read.tokens)
        return planned

    def has_read(self, stream: Stream, read: Read, logits: Tensor) -> None:
        """Note what a read gave, and leave a state behind for others where a prompt or a shared beginning ends.

        Args:
            stream: whose read it was.
            read: the state has grown by it.
            logits: (wanted, vocabulary).
        """
        length, prompt = read.state.length, stream.request.prompt
        ends = length == len(prompt)
        if length <= len(prompt):
            self.counters.prefilled += len(read.tokens)
        if read.wanted == "last":
            stream.logits = logits[0]
        if ends or length == stream.fork_at:
            known = logits[0].clone() if ends else None
            stream.kept.append(self._keep(stream, prompt[:length], read.state.fork(), known))

    def leave(self, stream: Stream, *, keep: bool = True) -> None:
        """Take a request out, keeping what it read for whoever goes on from there.

        Args:
            stream: waits or runs.
            keep: False where its state cannot be trusted.
        """
        if stream in self.running:
            self.running.remove(stream)
        elif stream in self.waiting:
            self.waiting.remove(stream)
        state, stream.state, stream.logits = stream.state, None, None
        if state is not None and keep and state.length:
            self.tree.release(self._keep(stream, stream.tokens[: state.length], state))
        elif state is not None:
            state.close()
        while stream.kept:
            self.tree.release(stream.kept.pop())

    def begin(self, adapter: str | None, prompt: tuple[int, ...]) -> Start:
        """Find where the reading of a prompt can begin, and fork or start a state there."""
        reuse = self._known(adapter, prompt)
        if reuse is None:
            return Start(self.decoder.start(adapter), 0, None, None)
        state = reuse.kept.state.fork(reuse.length)
        self.counters.reused += reuse.length
        self.tree.use(reuse.kept)
        logits = reuse.logits if reuse.length == len(prompt) else None
        return Start(state, reuse.length, reuse.kept, logits)

    def _known(self, adapter: str | None, prompt: tuple[int, ...]) -> Reuse | None:
        """Look up a prompt; without the logits after it its last token must be read."""
        reuse = self.tree.find(adapter, prompt)
        if reuse is not None and reuse.length == len(prompt) and reuse.logits is None:
            return self.tree.find(adapter, prompt[:-1])
        return reuse

    def _keep(self, stream: Stream, tokens: Sequence[int], state: State, logits: Tensor | None = None) -> Kept:
        return self.tree.put(stream.request.adapter, tokens, state, logits=logits)

    def _prompt_read(self, stream: Stream, state: State, room: int) -> Read:
        prompt, at = stream.request.prompt, state.length
        border = stream.fork_at if at < stream.fork_at else len(prompt)
        end = min(at + room, border)
        return Read(state, prompt[at:end], "last" if end == len(prompt) else "none")

    def _should_wait(self, stream: Stream) -> bool:
        """Tell whether a request that runs is reading a beginning that this one shares, and will leave it behind."""
        prompt = stream.request.prompt
        rivals = [s for s in self.running if s.in_prompt and s.request.adapter == stream.request.adapter]
        if not rivals:
            return False
        longest = max(self._left_by(rival.request.prompt, prompt) for rival in rivals)
        found = self._known(stream.request.adapter, prompt)
        saved = longest - (0 if found is None else found.length)
        return saved >= WORTH_WAITING or (saved > 0 and longest == len(prompt))

    def _left_by(self, rival: tuple[int, ...], prompt: tuple[int, ...]) -> int:
        """Count the tokens of a prompt that a state left at the end of another one can give."""
        same = next((n for n, (a, b) in enumerate(zip(rival, prompt, strict=False)) if a != b), None)
        same = min(len(rival), len(prompt)) if same is None else same
        return same if self.decoder.rewindable or same == len(rival) else 0
