"""The lean decoder: states of shared pages, and passes of the compiled network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.kernels.ops import llama as native
from trimtab.models.decoder import Read, State, check_adapter, check_fork, check_reads, closed_state, foreign_state
from trimtab.models.llama.family import head_width, obstacle
from trimtab.models.llama.pages import PagePool
from trimtab.models.llama.rotation import rotation
from trimtab.models.llama.weights import HeadForm, llama_factors, llama_weights

MOST_TOKENS = 512
"""Tokens a pass reads at most, which bounds its scratch memory."""

MOST_WANTED = 256
"""Logits that a pass gives at most."""


class LlamaState:
    """What one sequence has read: a list of pages, each of which may be shared with other states."""

    def __init__(self, pool: PagePool, adapter: int, pages: list[Tensor], length: int) -> None:
        """Take over pages that hold ``length`` tokens."""
        self._pool, self.adapter, self._pages, self.length = pool, adapter, pages, length
        self._table: Any = None
        self._closed = False

    @property
    def bytes(self) -> int:
        """Memory of all pages, shared ones counted in full."""
        return sum(self.parts().values())

    def parts(self) -> Mapping[int, int]:
        """Give its pages; see ``State.parts``."""
        return {id(page): self._pool.page_bytes for page in self._pages}

    def fork(self, at: int | None = None) -> LlamaState:
        """Share the pages of the first ``at`` tokens; a page is copied when one of the sharers writes to it.

        Raises:
            RangeError: ``at`` is not within what was read, or the state was closed.
        """
        self.check_usable(self._pool)
        at = check_fork(at, self.length)
        kept = self._pages[: -(-at // native.PAGE_TOKENS)]
        return LlamaState(self._pool, self.adapter, [self._pool.share(page) for page in kept], at)

    def close(self) -> None:
        """Give the pages back."""
        for page in self._pages:
            self._pool.drop(page)
        self._pages, self._table, self._closed = [], None, True

    def room_for(self, count: int) -> Any:
        """Make ``count`` more tokens writable and give the table of pages."""
        first, needed = self.length // native.PAGE_TOKENS, -(-(self.length + count) // native.PAGE_TOKENS)
        if first < len(self._pages):
            own = self._pool.own(self._pages[first])
            if own is not self._pages[first]:
                self._pages[first], self._table = own, None
        while len(self._pages) < needed:
            self._pages.append(self._pool.take())
            self._table = None
        if self._table is None:
            self._table = native.page_table(self._pages)
        return self._table

    def check_usable(self, pool: PagePool) -> None:
        """Refuse a state that was closed, or whose pages are another decoder's.

        Raises:
            RangeError: as it says.
        """
        if self._closed:
            raise closed_state()
        if self._pool is not pool:
            raise foreign_state(self)


@dataclass(frozen=True)
class _Piece:
    """Some successive tokens of one read, small enough for a pass."""

    read: int
    tokens: tuple[int, ...]
    wanted: int
    written: bool


class LlamaDecoder:
    """A network of the Llama family, frozen, on the CPU.

    Attributes:
        vocabulary: number of tokens.
        window: most tokens of a state.
        rewindable: True; pages can be shared up to any token.
        adapters: names of the adapters that were on the network.
        exact: float32 arithmetic always; False rounds the activations of written tokens to 15 bits where they meet
            weights of 4 bits or a head of 8, and keeps keys and values in 16 bits.
    """

    rewindable = True

    def __init__(self, net: nn.Module, *, head: HeadForm = "stored", exact: bool = True) -> None:
        """Describe the network to the compiled code, borrowing its weights.

        Args:
            net: as ``load_network`` gives it, perhaps with adapters.
            head: the form of the output head; 8 or 4 bits read less memory and change the logits a little.
            exact: see the class.

        Raises:
            RangeError: the network is of another family, or this processor lacks AVX2.
        """
        if problem := obstacle(net):
            raise RangeError(f"the lean decoder does not run this model: {problem}. Use the one of transformers.")
        network: Any = net
        self.exact = exact
        self.window: int | None = int(network.config.max_position_embeddings)
        self._rope: Mapping[str, Any] = network.config.rope_parameters
        half = head_width(network.config) // 2
        # Untouched memory costs nothing: positions are filled in when a state comes near them.
        self._cosines, self._sines = torch.empty(self.window, half), torch.empty(self.window, half)
        self._positions = 0
        weights = llama_weights(net, head=head, exact=exact, cosines=self._cosines, sines=self._sines)
        self.adapters, factors = llama_factors(net)
        self._native = native.NativeLlama(weights, factors)
        self.vocabulary = self._native.vocabulary
        self.pool = PagePool(self._native.page_numbers, torch.float16 if weights.half_pages else torch.float32)

    def start(self, adapter: str | None = None) -> LlamaState:
        """Give an empty state.

        Raises:
            RangeError: there is no such adapter.
        """
        check_adapter(adapter, self.adapters)
        return LlamaState(self.pool, -1 if adapter is None else self.adapters.index(adapter), [], 0)

    @torch.no_grad()
    def read(self, reads: Sequence[Read]) -> list[Float[Tensor, "wanted vocabulary"]]:
        """Append tokens to states; see ``Decoder.read``."""
        check_reads(reads, vocabulary=self.vocabulary, window=self.window)
        for read in reads:
            _own(read.state).check_usable(self.pool)
        found: list[list[Tensor]] = [[] for _ in reads]
        for pieces in _passes(reads):
            logits = torch.split(self._pass(reads, pieces), [piece.wanted for piece in pieces])
            for piece, rows in zip(pieces, logits, strict=True):
                found[piece.read].append(rows)
        return [rows[0] if len(rows) == 1 else torch.cat(rows) for rows in found]

    def _pass(self, reads: Sequence[Read], pieces: Sequence[_Piece]) -> Tensor:
        states: list[Any] = [reads[piece.read].state for piece in pieces]
        self._rotate_up_to(max(state.length + len(piece.tokens) for state, piece in zip(states, pieces, strict=True)))
        logits = self._native.read(
            [
                native.NativeRead(
                    piece.tokens,
                    state.length,
                    state.room_for(len(piece.tokens)),
                    state.adapter,
                    piece.wanted,
                    piece.written,
                )
                for state, piece in zip(states, pieces, strict=True)
            ],
            exact=self.exact,
        )
        for state, piece in zip(states, pieces, strict=True):
            state.length += len(piece.tokens)
        return logits

    def _rotate_up_to(self, position: int) -> None:
        """Fill the rotary tables up to a position."""
        assert self.window is not None
        if position <= self._positions:
            return
        end = min(self.window, max(position, 2 * self._positions, MOST_TOKENS))
        here = slice(self._positions, end)
        width = 2 * self._cosines.shape[1]
        self._cosines[here], self._sines[here] = rotation(self._rope, width=width, first=self._positions, end=end)
        self._positions = end


def _own(state: State) -> LlamaState:
    if not isinstance(state, LlamaState):
        raise foreign_state(state)
    return state


def _passes(reads: Sequence[Read]) -> Iterator[list[_Piece]]:
    """Cut reads into passes, written tokens first; a long read fills passes of its own in order."""
    group: list[_Piece] = []
    tokens = wanted = 0
    for index, read in sorted(enumerate(reads), key=lambda pair: not pair[1].written):
        for first in range(0, len(read.tokens), MOST_WANTED if read.wanted == "all" else MOST_TOKENS):
            piece = _piece(index, read, first)
            full = tokens + len(piece.tokens) > MOST_TOKENS or wanted + piece.wanted > MOST_WANTED
            if group and (full or group[-1].read == index):
                yield group
                group, tokens, wanted = [], 0, 0
            group.append(piece)
            tokens, wanted = tokens + len(piece.tokens), wanted + piece.wanted
    if group:
        yield group


def _piece(index: int, read: Read, first: int) -> _Piece:
    size = MOST_WANTED if read.wanted == "all" else MOST_TOKENS
    tokens = read.tokens[first : first + size]
    ends = first + size >= len(read.tokens)
    wanted = len(tokens) if read.wanted == "all" else int(read.wanted == "last" and ends)
    return _Piece(index, tokens, wanted, read.written)
