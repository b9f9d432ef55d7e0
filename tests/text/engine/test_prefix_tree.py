"""The tree of kept states against a list that is searched from end to end."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trimtab.text.engine.prefix_tree import Kept, PrefixTree

ADAPTERS = (None, "one")
TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=7).map(tuple)


PAGE, PAGE_BYTES = 2, 10


@dataclass(eq=False)
class FakeState:
    length: int
    closed: bool = False
    pages: tuple[int, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(self.parts().values())

    def parts(self) -> dict[int, int]:
        return {} if self.closed else dict.fromkeys(self.pages, PAGE_BYTES)

    def fork(self, at: int | None = None) -> FakeState:
        assert not self.closed
        return FakeState(self.length if at is None else at)

    def close(self) -> None:
        self.closed = True


def pages_of(adapter: str | None, tokens: tuple[int, ...]) -> tuple[int, ...]:
    """Give the pages of a state: full ones are shared by all who begin alike."""
    ends = range(PAGE, len(tokens) + PAGE, PAGE)
    return tuple(hash((adapter, tokens[:end])) for end in ends)


def bytes_of(entries: list[Entry]) -> int:
    return PAGE_BYTES * len({page for entry in entries for page in entry.state.pages})


@dataclass(eq=False)
class Entry:
    adapter: str | None
    tokens: tuple[int, ...]
    state: FakeState
    used: int = 0
    users: int = 0
    kept: Kept | None = field(default=None, repr=False)

    def goes_on_from(self, other: Entry) -> bool:
        same = self is not other and self.adapter == other.adapter
        return same and self.tokens[: len(other.tokens)] == other.tokens


class AgainstAList(RuleBasedStateMachine):
    """Does everything twice: in the tree, and in a list of entries."""

    rewindable = True
    budget = 120

    def __init__(self) -> None:
        super().__init__()
        self.tree = PrefixTree(self.budget, rewindable=self.rewindable)
        self.entries: list[Entry] = []
        self.clock = 0
        self.given: list[FakeState] = []

    @rule(adapter=st.sampled_from(ADAPTERS), tokens=TOKENS, hold=st.booleans())
    def put(self, adapter, tokens, hold):
        state = FakeState(len(tokens), pages=pages_of(adapter, tokens))
        self.given.append(state)
        entry = next((e for e in self.entries if (e.adapter, e.tokens) == (adapter, tokens)), None)
        if entry is None:
            entry = Entry(adapter, tokens, state)
            self.entries.append(entry)
        self.touch(entry)
        entry.users += 1
        self.trim()
        kept = self.tree.put(adapter, tokens, state)
        assert kept.state is entry.state
        entry.kept = kept
        if not hold:
            self.release_one(entry)

    @rule(adapter=st.sampled_from(ADAPTERS), tokens=TOKENS, hold=st.booleans())
    def find(self, adapter, tokens, hold):
        reuse = self.tree.find(adapter, tokens)
        lengths = [self.gives(entry, adapter, tokens) for entry in self.entries]
        longest = max(lengths, default=0)
        assert (0 if reuse is None else reuse.length) == longest
        if reuse is not None and hold:
            best = [entry for entry, length in zip(self.entries, lengths, strict=True) if length == longest]
            entry = max(best, key=lambda entry: entry.used)
            assert reuse.kept.state is entry.state
            self.tree.use(reuse.kept)
            self.touch(entry)
            entry.users += 1

    @precondition(lambda self: any(entry.users for entry in self.entries))
    @rule(data=st.data())
    def release(self, data):
        self.release_one(data.draw(st.sampled_from([entry for entry in self.entries if entry.users])))

    @rule()
    def clear(self):
        self.tree.clear()
        self.trim(budget=-1)

    @invariant()
    def holds_the_same(self):
        assert self.tree.bytes == bytes_of(self.entries)
        assert len(self.tree) == len(self.entries)

    @invariant()
    def closes_what_it_drops_and_nothing_else(self):
        held = {id(entry.state) for entry in self.entries}
        assert all(state.closed == (id(state) not in held) for state in self.given)

    @invariant()
    def knows_how_far_tokens_are_shared(self):
        for entry in self.entries:
            assert self.tree.shared(entry.adapter, (*entry.tokens, 9)) == len(entry.tokens)

    @invariant()
    def has_no_node_that_leads_nowhere(self):
        for root in self.tree._roots.values():
            stack = list(root.children.values())
            while stack:
                node = stack.pop()
                assert node.kept is not None or len(node.children) > 1
                stack.extend(node.children.values())

    def gives(self, entry: Entry, adapter: str | None, tokens: tuple[int, ...]) -> int:
        pairs = zip(entry.tokens, tokens, strict=False)
        same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(entry.tokens), len(tokens)))
        usable = entry.adapter == adapter and (self.rewindable or same == len(entry.tokens))
        return same if usable else 0

    def touch(self, entry: Entry) -> None:
        self.clock += 1
        entry.used = self.clock

    def release_one(self, entry: Entry) -> None:
        entry.users -= 1
        self.trim()
        assert entry.kept is not None
        self.tree.release(entry.kept)

    def trim(self, *, budget: int | None = None) -> None:
        if self.rewindable:
            self.entries = [e for e in self.entries if e.users or not any(o.goes_on_from(e) for o in self.entries)]
        while bytes_of(self.entries) > (self.budget if budget is None else budget):
            free = [e for e in self.entries if not e.users and not any(o.goes_on_from(e) for o in self.entries)]
            if not free:
                return
            self.entries.remove(min(free, key=lambda entry: entry.used))


class AgainstAListWithoutRewinding(AgainstAList):
    rewindable = False


class TestRewindable(AgainstAList.TestCase):
    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


class TestNotRewindable(AgainstAListWithoutRewinding.TestCase):
    settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_state_in_use_outlives_any_budget():
    tree = PrefixTree(0, rewindable=True)
    kept = tree.put(None, (1, 2), FakeState(2, pages=(1,)))
    assert tree.find(None, (1, 2, 3)) is not None
    tree.release(kept)
    assert tree.find(None, (1, 2, 3)) is None
    assert kept.state.closed


def test_logits_are_given_only_after_the_very_same_tokens():
    import torch

    tree = PrefixTree(10**6, rewindable=True)
    tree.put(None, (1, 2, 3), FakeState(3, pages=(1, 2)), logits=torch.zeros(5))
    assert tree.find(None, (1, 2, 3)).logits is not None
    assert tree.find(None, (1, 2)).logits is None
    assert tree.bytes == 2 * PAGE_BYTES + 5 * 4


def test_what_two_states_share_is_counted_once_and_until_both_are_gone():
    tree = PrefixTree(10**6, rewindable=True)
    first = tree.put(None, (1, 2), FakeState(2, pages=(1, 2)))
    tree.put(None, (1, 3), FakeState(2, pages=(1, 3)))
    assert tree.bytes == 3 * PAGE_BYTES
    tree.release(first)
    tree.clear()
    assert tree.bytes == 2 * PAGE_BYTES


@pytest.mark.parametrize("rewindable", [True, False])
def test_adapters_share_nothing(rewindable):
    tree = PrefixTree(10**6, rewindable=rewindable)
    tree.put("one", (1, 2), FakeState(2))
    assert tree.find(None, (1, 2)) is None
    assert tree.find("two", (1, 2)) is None
