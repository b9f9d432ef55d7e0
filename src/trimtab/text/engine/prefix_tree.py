"""What was read once is kept for those who begin with the same tokens: a radix tree of states under a byte budget.

Source: the idea of a radix tree of prefixes with least recently used leaves dropped first, arXiv:2312.07104, section 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from trimtab.models.decoder import State


@dataclass(eq=False)
class Kept:
    """A state in the tree.

    Attributes:
        state: has read exactly the tokens on the way to it; never reads on, only forks.
        logits: (vocabulary,) after the last of these tokens, where they were kept.
        users: how many still build on it; while there are any it stays.
        used: when it was last put or reused, on the tree's own clock.
    """

    state: State
    logits: Tensor | None = None
    users: int = 0
    used: int = 0
    node: _Node = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Measure it once; a kept state does not grow."""
        self.parts: Mapping[int, int] = self.state.parts()
        self.logits_bytes = 0 if self.logits is None else self.logits.numel() * self.logits.element_size()


@dataclass(eq=False)
class _Node:
    edge: tuple[int, ...]
    parent: _Node | None
    depth: int
    children: dict[int, _Node] = field(default_factory=dict)
    kept: Kept | None = None

    def below(self) -> Iterator[Kept]:
        """Go through the states kept here and further down."""
        stack = [self]
        while stack:
            node = stack.pop()
            if node.kept is not None:
                yield node.kept
            stack.extend(node.children.values())


@dataclass(frozen=True)
class Reuse:
    """A kept state that shares its beginning with what is asked.

    Attributes:
        kept: fork its state at ``length``, and release it when done.
        length: tokens that need not be read.
    """

    kept: Kept
    length: int

    @property
    def logits(self) -> Tensor | None:
        """The logits after these tokens, where they are known."""
        return self.kept.logits if self.kept.state.length == self.length else None


class PrefixTree:
    """States by adapter and tokens, at most so many bytes of them.

    Memory that several states share is counted once. States in use may exceed the budget; they are dropped when they
    are released.

    Attributes:
        budget: most bytes.
        bytes: held now.
    """

    def __init__(self, budget: int, *, rewindable: bool) -> None:
        """Begin empty.

        Args:
            budget: most bytes to hold.
            rewindable: whether a state can be forked anywhere before its end. Then a state makes those on the way
                to it superfluous, and they are dropped.
        """
        self.budget, self.bytes = budget, 0
        self._rewindable = rewindable
        self._roots: dict[str | None, _Node] = {}
        self._clock = 0
        self._holders: Counter[int] = Counter()  # of each part of memory

    def __len__(self) -> int:
        """Count the states."""
        return sum(1 for _ in self._all())

    def find(self, adapter: str | None, tokens: Sequence[int]) -> Reuse | None:
        """Look up the longest beginning of ``tokens`` that a kept state can give, without using it."""
        node, depth = self._descend(adapter, tuple(tokens))
        if node is None:
            return None
        if self._rewindable and depth:
            newest = max(node.below(), key=lambda kept: kept.used, default=None)
            return None if newest is None else Reuse(newest, depth)
        while node is not None and (node.kept is None or node.depth > depth):
            node = node.parent
        return None if node is None or node.kept is None else Reuse(node.kept, node.depth)

    def shared(self, adapter: str | None, tokens: Sequence[int]) -> int:
        """Count the tokens at the beginning that any kept state has read too, whether or not it can give them."""
        return self._descend(adapter, tuple(tokens))[1]

    def use(self, kept: Kept) -> None:
        """Mark a state as the latest used and hold it until ``release``."""
        self._touch(kept)
        kept.users += 1

    def release(self, kept: Kept) -> None:
        """Stop holding a state."""
        kept.users -= 1
        self._trim()

    def put(self, adapter: str | None, tokens: Sequence[int], state: State, *, logits: Tensor | None = None) -> Kept:
        """Keep a state, held as by ``use``.

        Args:
            adapter: under which it read.
            tokens: what it read, at least one.
            state: belongs to the tree from now on; closed at once where there is one of the same tokens.
            logits: (vocabulary,) after the last token.

        Returns:
            What is kept for these tokens.
        """
        root = self._roots.setdefault(adapter, _Node((), None, 0))
        node = self._insert(root, tuple(tokens))
        if node.kept is None:
            node.kept = Kept(state, logits)
            node.kept.node = node
            self._count(node.kept)
        else:
            state.close()
        kept = node.kept
        self.use(kept)
        self._trim()
        return kept

    def clear(self) -> None:
        """Drop every state that is not in use."""
        budget, self.budget = self.budget, -1
        self._trim()
        self.budget = budget

    def _touch(self, kept: Kept) -> None:
        self._clock += 1
        kept.used = self._clock

    def _all(self) -> Iterator[Kept]:
        for root in self._roots.values():
            yield from root.below()

    def _descend(self, adapter: str | None, tokens: tuple[int, ...]) -> tuple[_Node | None, int]:
        """Follow tokens as far as the tree knows them; give the node at or just below that point."""
        node, depth = self._roots.get(adapter), 0
        while node is not None and depth < len(tokens) and tokens[depth] in node.children:
            node = node.children[tokens[depth]]
            same = _same(node.edge, tokens, depth)
            depth += same
            if same < len(node.edge):
                break
        return node, depth

    def _insert(self, node: _Node, tokens: tuple[int, ...]) -> _Node:
        """Give the node of these tokens, made where it is missing."""
        while node.depth < len(tokens):
            child = node.children.get(tokens[node.depth])
            if child is None:
                child = _Node(tokens[node.depth :], node, len(tokens))
                node.children[tokens[node.depth]] = child
            else:
                same = _same(child.edge, tokens, node.depth)
                child = child if same == len(child.edge) else _split(child, same)
            node = child
        return node

    def _trim(self) -> None:
        """Drop what is superfluous, then the least recently used leaves until the budget is kept."""
        if self._rewindable:
            for kept in [kept for kept in self._all() if not kept.users and _has_kept_below(kept.node)]:
                self._drop(kept)
        while self.bytes > self.budget:
            leaves = [kept for kept in self._all() if not kept.users and not _has_kept_below(kept.node)]
            if not leaves:
                return
            self._drop(min(leaves, key=lambda kept: kept.used))

    def _drop(self, kept: Kept) -> None:
        self._discount(kept)
        kept.state.close()
        kept.node.kept = None
        _prune(kept.node)

    def _count(self, kept: Kept) -> None:
        """Add the memory that a state holds and no other did."""
        self.bytes += kept.logits_bytes
        for part, size in kept.parts.items():
            self.bytes += 0 if self._holders[part] else size
            self._holders[part] += 1

    def _discount(self, kept: Kept) -> None:
        """Take away the memory that no other state holds."""
        self.bytes -= kept.logits_bytes
        for part, size in kept.parts.items():
            self._holders[part] -= 1
            if not self._holders[part]:
                del self._holders[part]
                self.bytes -= size


def _has_kept_below(node: _Node) -> bool:
    """Tell whether a state is kept further down; every leaf of the tree keeps one."""
    return bool(node.children)


def _same(edge: tuple[int, ...], tokens: tuple[int, ...], at: int) -> int:
    """Count equal tokens at the beginning of an edge and from a place on."""
    part = tokens[at : at + len(edge)]
    if part == edge:
        return len(edge)
    return next((n for n, (a, b) in enumerate(zip(edge, part, strict=False)) if a != b), len(part))


def _split(child: _Node, same: int) -> _Node:
    """Put a node into an edge, behind its first tokens."""
    parent = child.parent
    assert parent is not None
    middle = _Node(child.edge[:same], parent, parent.depth + same)
    parent.children[middle.edge[0]] = middle
    child.edge, child.parent = child.edge[same:], middle
    middle.children[child.edge[0]] = child
    return middle


def _prune(node: _Node) -> None:
    """Take away nodes that lead nowhere, and join edges that no longer branch."""
    while node.parent is not None and node.kept is None and not node.children:
        del node.parent.children[node.edge[0]]
        node = node.parent
    if node.parent is not None and node.kept is None and len(node.children) == 1:
        (child,) = node.children.values()
        child.edge, child.parent = node.edge + child.edge, node.parent
        node.parent.children[child.edge[0]] = child
