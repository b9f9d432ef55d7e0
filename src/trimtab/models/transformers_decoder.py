"""Any causal network of transformers as a decoder: its own forward pass, its own cache.

Right for every architecture before it is fast: networks whose cache is plain attention are batched by padding, all
others read one sequence after another.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trimtab.core.errors import RangeError
from trimtab.models.decoder import Read, State, check_adapter, check_fork, check_reads, closed_state, foreign_state
from trimtab.nn.lora import activate, adapters

Cache: TypeAlias = Any
_log = logging.getLogger("trimtab.models")
PROBE_LENGTH: Final = 6
PROBE_TOLERANCE: Final = 1e-4
CACHE_ARGUMENTS: Final = ("past_key_values", "cache_params")


class CachedState:
    """One sequence in a cache of transformers' own.

    Attributes:
        adapter: under which it reads.
        length: tokens read.
    """

    def __init__(self, cache: Cache, owner: nn.Module, adapter: str | None, *, length: int = 0) -> None:
        """Take a cache that nobody else writes to, and the network that it belongs to."""
        self.adapter, self.length, self.owner = adapter, length, owner
        self._cache: Cache | None = cache

    @property
    def cache(self) -> Cache:
        """The cache.

        Raises:
            RangeError: the state is closed.
        """
        if self._cache is None:
            raise closed_state()
        return self._cache

    @property
    def bytes(self) -> int:
        """Memory of the tensors in the cache, in full where they are parts of larger ones."""
        return sum(self.parts().values())

    def parts(self) -> Mapping[int, int]:
        """Give the memory behind the tensors in the cache; see ``State.parts``."""
        layers = self._cache.layers if self._cache else []
        storages = (tensor.untyped_storage() for layer in layers for tensor in _tensors_in(vars(layer)))
        return {storage.data_ptr(): storage.nbytes() for storage in storages if storage.nbytes()}

    def fork(self, at: int | None = None) -> CachedState:
        """Give a state with the same past, or with the first ``at`` tokens of it.

        Raises:
            RangeError: ``at`` is not allowed, or the state is closed.
        """
        at = check_fork(at, self.length)
        if at < self.length and not is_plain(self.cache):
            raise RangeError(f"fork at {at} of {self.length}: this network cannot forget. Fork before it reads on.")
        forked = copy.copy(self.cache)
        forked.layers = [_copy_layer(layer) for layer in self.cache.layers]
        if at < self.length:
            for layer in forked.layers:
                layer.crop(at - self.length)
        return CachedState(forked, self.owner, self.adapter, length=at)

    def close(self) -> None:
        """Let go of the cache."""
        self._cache = None


class TransformersDecoder:
    """A network of transformers behind the protocol of ``Decoder``.

    Attributes:
        net: the network, in evaluation mode; its active adapter changes with what is read.
        vocabulary: number of tokens.
        window: most tokens a state may hold, as the config states it; None where it states nothing.
        adapters: those that were on the network when it was given.
        rewindable: whether the cache is plain attention throughout.
    """

    def __init__(self, net: nn.Module) -> None:
        """Take a loaded network, with any adapters on it.

        Raises:
            RangeError: it is an encoder-decoder, or its forward pass takes no cache that is known here.
        """
        config = cast(Any, net).config
        taken = inspect.signature(net.forward).parameters
        name = next((name for name in CACHE_ARGUMENTS if name in taken), None)
        if config.is_encoder_decoder or name is None:
            raise RangeError(
                f"{type(net).__name__}: allowed are causal networks that take {' or '.join(CACHE_ARGUMENTS)}."
            )
        self.net, self._cache_argument, self._taken = net.eval(), name, frozenset(taken)
        text = config.get_text_config()
        self.vocabulary = int(text.vocab_size)
        window = getattr(text, "max_position_embeddings", None)
        self.window = int(window) if window else None
        self.adapters = tuple(adapters(net))
        self.rewindable = is_plain(self._new_cache())
        self._batches = self.rewindable and {"attention_mask", "position_ids"} <= self._taken
        self._active: str | None = None
        activate(net, None)
        self._in_parts = True
        self._in_parts = self.rewindable or self._reads_in_parts()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.net.parameters()).device

    def start(self, adapter: str | None = None) -> CachedState:
        """Give an empty state.

        Raises:
            RangeError: there is no such adapter.
        """
        check_adapter(adapter, self.adapters)
        return CachedState(self._new_cache(), self.net, adapter)

    @torch.no_grad()
    def read(self, reads: Sequence[Read]) -> list[Float[Tensor, "wanted vocabulary"]]:
        """Append tokens to states; see ``Decoder.read``.

        Raises:
            RangeError: a read is not allowed, or a state is none of this decoder's.
        """
        check_reads(reads, vocabulary=self.vocabulary, window=self.window)
        states = self._states_of(reads)
        groups: dict[tuple[str | None, int], list[int]] = {}
        for index, (read, state) in enumerate(zip(reads, states, strict=True)):
            alike = (len(read.tokens) - 1).bit_length() if self._batches else ~index
            groups.setdefault((state.adapter, alike), []).append(index)
        logits: dict[int, Tensor] = {}
        for (adapter, _), indices in groups.items():
            self._switch(adapter)
            rows = self._read_group([reads[i] for i in indices])
            logits |= dict(zip(indices, rows, strict=True))
        return [logits[index] for index in range(len(reads))]

    def _states_of(self, reads: Sequence[Read]) -> list[CachedState]:
        """Give the states of reads, all of which must be open and this decoder's."""
        states = [_own(read.state) for read in reads]
        for state in states:
            if state.owner is not self.net:
                raise foreign_state(state)
            state.cache  # noqa: B018 - raises where it was closed
        return states

    def _new_cache(self) -> Cache:
        from transformers import DynamicCache

        return DynamicCache(config=cast(Any, self.net).config)

    def _switch(self, adapter: str | None) -> None:
        if adapter != self._active:
            activate(self.net, adapter)
            self._active = adapter

    @torch.no_grad()
    def _reads_in_parts(self) -> bool:
        """Find out whether several tokens can follow others; some recurrent networks then forget what came before."""
        ids = tuple(token % self.vocabulary for token in range(PROBE_LENGTH))
        (whole,) = self._read_group([Read(self.start(), ids)])
        state = self.start()
        self._read_group([Read(state, ids[:2], "none")])
        (parts,) = self._read_group([Read(state, ids[2:])])
        same = bool((parts - whole).abs().max() <= PROBE_TOLERANCE * whole.abs().max().clamp(min=1.0))
        if not same:
            _log.info("%s reads on token by token: its forward pass takes no longer parts.", type(self.net).__name__)
        return same

    def _read_group(self, reads: Sequence[Read]) -> list[Tensor]:
        """Read rows of similar lengths; several only where the cache is plain."""
        (first, *_), states = reads, self._states_of(reads)
        if self._in_parts or not states[0].length or len(first.tokens) == 1:
            return self._one_pass(reads, states)
        rows = [self._one_pass([Read(first.state, (token,))], states)[0] for token in first.tokens]
        return [torch.cat(rows)[_rows_of(first)]]

    def _one_pass(self, reads: Sequence[Read], states: Sequence[CachedState]) -> list[Tensor]:
        longest = max(len(read.tokens) for read in reads)
        ids = torch.tensor([[*read.tokens] + [0] * (longest - len(read.tokens)) for read in reads], device=self.device)
        kept = _positions_wanted(reads)
        given: dict[str, Any] = {"logits_to_keep": kept} if "logits_to_keep" in self._taken else {}
        if len(reads) == 1:
            cache = states[0].cache
        else:
            cache = self._stack(states)
            given |= _padding(reads, states, self.device)
        output = cast(Any, self.net)(input_ids=ids, use_cache=True, **{self._cache_argument: cache}, **given)
        if len(reads) > 1:
            _unstack(cache, reads, states)
        for read, state in zip(reads, states, strict=True):
            state.length += len(read.tokens)
        rows = output.logits if given.get("logits_to_keep") is not None else output.logits[:, kept]
        return [_rows_wanted(read, rows[index].float(), kept) for index, read in enumerate(reads)]

    def _stack(self, states: Sequence[CachedState]) -> Cache:
        """Put several pasts into one cache, padded on the left."""
        longest = max(state.length for state in states)
        stacked = self._new_cache()
        if not longest:
            return stacked
        for number, layer in enumerate(stacked.layers):
            pasts = [state.cache.layers[number] for state in states]
            model = next(past for past, state in zip(pasts, states, strict=True) if state.length)
            layer.lazy_initialization(model.keys, model.values)
            empty = model.keys[:, :, :0], model.values[:, :, :0]
            pairs = [(past.keys, past.values) if past.is_initialized else empty for past in pasts]
            layer.keys = torch.cat([_padded(keys, longest) for keys, _ in pairs])
            layer.values = torch.cat([_padded(values, longest) for _, values in pairs])
        return stacked


def is_plain(cache: Cache) -> bool:
    """Tell whether every layer keeps the keys and values of every token, and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in cache.layers)


def _own(state: State) -> CachedState:
    if not isinstance(state, CachedState):
        raise foreign_state(state)
    return state


def _copy_layer(layer: Any) -> Any:
    """Copy a layer; keys and values are only ever replaced and may be shared, recurrent states are written in place."""
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return copy.copy(layer) if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) else copy.deepcopy(layer)


def _tensors_in(value: Any) -> Iterator[Tensor]:
    """Find tensors, also those within lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _tensors_in(item)


def _positions_wanted(reads: Sequence[Read]) -> Tensor:
    """Give the positions, sorted, of which any read wants logits; the first where none does."""
    wanted = {position for read in reads for position in range(len(read.tokens))[_rows_of(read)]}
    return torch.tensor(sorted(wanted) or [0])


def _rows_wanted(read: Read, rows: Tensor, kept: Tensor) -> Tensor:
    """Pick the logits of one read from those of its row, (kept, vocabulary)."""
    wanted = range(len(read.tokens))[_rows_of(read)]
    first = kept.tolist().index(wanted[0]) if wanted else 0
    return rows[first : first + len(wanted)]


def _rows_of(read: Read) -> slice:
    """Say which of a read's tokens want logits."""
    return {"none": slice(0), "last": slice(len(read.tokens) - 1, None), "all": slice(None)}[read.wanted]


def _padding(reads: Sequence[Read], states: Sequence[CachedState], device: torch.device) -> dict[str, Tensor]:
    """Say what is padding, and where in its own sequence each token stands."""
    past = torch.tensor([state.length for state in states])[:, None]  # (rows, 1)
    new = torch.tensor([len(read.tokens) for read in reads])[:, None]
    longest_past, longest_new = int(past.max()), int(new.max())
    column = torch.arange(longest_past + longest_new)[None]
    mask = (column >= longest_past - past) & (column < longest_past + new)
    positions = past + torch.minimum(torch.arange(longest_new)[None], new - 1)
    return {"attention_mask": mask.long().to(device), "position_ids": positions.to(device)}


def _padded(pairs: Tensor, length: int) -> Tensor:
    return nn.functional.pad(pairs, (0, 0, length - pairs.shape[-2], 0))


def _unstack(cache: Cache, reads: Sequence[Read], states: Sequence[CachedState]) -> None:
    """Give each state its own part of a stacked cache, as views."""
    longest = max(state.length for state in states)
    for row, (read, state) in enumerate(zip(reads, states, strict=True)):
        for layer, past in zip(cache.layers, state.cache.layers, strict=True):
            if not past.is_initialized:
                past.lazy_initialization(layer.keys, layer.values)
            span = slice(longest - state.length, longest + len(read.tokens))
            past.keys, past.values = layer.keys[row : row + 1, :, span], layer.values[row : row + 1, :, span]
