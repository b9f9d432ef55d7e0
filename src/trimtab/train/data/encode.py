"""From conversations to token ids with a mark on every token that is learnt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from trimtab.core.errors import DataError
from trimtab.text.chat_format import chat_template
from trimtab.train.data.rows import BadRow, Conversation, Problem, RowSet, refusal
from trimtab.train.data.settings import DataSettings, Tokenizer
from trimtab.train.data.templates import prompt_text, render
from trimtab.train.data.tokens import surroundings, tokenize


@dataclass(frozen=True, slots=True)
class Example:
    """One thing to learn, as tokens.

    Attributes:
        input_ids: what the network reads; of an encoder-decoder network, what the encoder reads.
        trained: for each of ``input_ids``, whether it is learnt; all False for an encoder.
        place: ``file:line`` of the row.
        target_ids: what the decoder of an encoder-decoder network learns to write; None for other networks.
    """

    input_ids: list[int]
    trained: list[bool]
    place: str
    target_ids: list[int] | None = None

    def __len__(self) -> int:
        """Count the tokens that cost work: those read, and those a decoder writes."""
        return len(self.input_ids) + len(self.target_ids or ())

    @property
    def trained_tokens(self) -> int:
        """Count what the loss is taken over; nothing comes before the first token, so it is never one of them."""
        return len(self.target_ids) if self.target_ids is not None else sum(self.trained[1:])


@dataclass(frozen=True)
class EncodedSet(Sequence[Example]):
    """Examples in the rows' order, and an account of what was cut or left out.

    Attributes:
        examples: each at most a window long, each with something to learn.
        problems: one for every row that gave no example.
        cut: places of rows that lost their right end to the window.
        notes: sentences for the person who trains.
    """

    examples: tuple[Example, ...]
    problems: tuple[Problem, ...] = ()
    cut: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def skipped(self) -> int:
        """Count the rows left out because of a problem."""
        return len({problem.place for problem in self.problems})

    @property
    def trained_tokens(self) -> int:
        """Count the tokens that the loss is taken over."""
        return sum(example.trained_tokens for example in self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        """Give one example, or several."""
        return self.examples[index]

    def __len__(self) -> int:
        """Count the examples."""
        return len(self.examples)


@dataclass
class _Account:
    examples: list[Example] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    _ids: dict[int, int] = field(default_factory=dict)

    def add(self, example: Example) -> None:
        """Keep an example; equal ids share one Python object, so that an id costs 8 bytes and not 36."""
        ids = [self._ids.setdefault(token, token) for token in example.input_ids]
        self.examples.append(Example(ids, example.trained, example.place, example.target_ids))


def encode(
    rows: RowSet | Iterable[Conversation], tokenizer: Tokenizer, settings: DataSettings | None = None
) -> EncodedSet:
    """Tokenize conversations for a causal language model, by its own chat template where it has one.

    Args:
        rows: from ``read_rows``, or any conversations.
        tokenizer: of transformers.
        settings: the window, what is learnt, and what happens to rows that do not fit.

    Raises:
        DataError: a row cannot be used and ``on_bad_row`` is "stop", or none is left.
    """
    settings = settings or DataSettings()
    account = _Account()
    for conversation in rows:
        try:
            for example in _examples(conversation, tokenizer, settings):
                account.add(_fitted(example, settings, account.cut))
        except BadRow as problem:
            account.problems.append(problem.at(conversation.place))
    return _settled(account, rows, settings, wording=_wording(tokenizer))


def encode_seq2seq(
    rows: RowSet | Iterable[Conversation], tokenizer: Tokenizer, settings: DataSettings | None = None
) -> EncodedSet:
    """Tokenize conversations for an encoder-decoder network: all turns but the last answer are read, it is written.

    The encoder's window is ``source_max_length`` and the decoder's ``target_max_length``, each ``max_length`` where
    not set. Turns after the last answer are not used.

    Raises:
        DataError: a row cannot be used and ``on_bad_row`` is "stop", or none is left.
    """
    settings = settings or DataSettings()
    account = _Account()
    for conversation in rows:
        try:
            account.add(_pair(conversation, tokenizer, settings, account.cut))
        except BadRow as problem:
            account.problems.append(problem.at(conversation.place))
    return _settled(account, rows, settings, wording=_wording(tokenizer))


def _wording(tokenizer: Tokenizer) -> str:
    if chat_template(tokenizer):
        return "Conversations are written by the model's own chat template."
    return (
        "The tokenizer has no chat template: rows keep the wording of their data set (Alpaca's prompt, a bare prompt), "
        "other conversations are written as '### Human: ...', '### Assistant: ...'."
    )


def _examples(conversation: Conversation, tokenizer: Tokenizer, settings: DataSettings) -> Iterator[Example]:
    rendered = render(conversation, tokenizer, loss_on=settings.loss_on)
    ids, trained = tokenize(rendered, tokenizer)
    if settings.loss_on == "all":
        trained = [True] * len(ids)
    size = min(settings.max_length, settings.target_max_length or settings.max_length)
    if not conversation.text or len(ids) <= size:
        yield Example(ids, trained, conversation.place)
        return
    for number, start in enumerate(range(0, len(ids), size), start=1):
        window = slice(start, start + size)
        if len(ids[window]) > 1:
            yield Example(ids[window], trained[window], f"{conversation.place} (window {number})")


def _fitted(example: Example, settings: DataSettings, cut: list[str]) -> Example:
    """Cut an example to the caps, or refuse it; an example that fits is given back as it is."""
    keep = _kept(example, settings)
    if len(keep) == len(example) and example.trained_tokens:
        return example
    if len(keep) < len(example) and settings.truncation == "stop":
        raise BadRow(
            "", f"{len(example)} tokens found, at most {_caps(settings)} allowed; raise max_length or shorten it"
        )
    shorter = Example([example.input_ids[n] for n in keep], [example.trained[n] for n in keep], example.place)
    if not shorter.trained_tokens:
        raise BadRow("", _nothing_left(example, settings))
    cut.append(example.place)
    return shorter


def _kept(example: Example, settings: DataSettings) -> list[int]:
    size = len(example)
    source = example.trained.index(True) if True in example.trained else size
    if settings.loss_on == "all":
        source = 0
    head = range(min(source, settings.source_max_length or source))
    tail = range(source, min(size, source + (settings.target_max_length or size)))
    return [*head, *tail][: settings.max_length]


def _caps(settings: DataSettings) -> str:
    names = ("max_length", "source_max_length", "target_max_length")
    return ", ".join(f"{name} = {value}" for name in names if (value := getattr(settings, name)) is not None)


def _nothing_left(example: Example, settings: DataSettings) -> str:
    if not example.trained_tokens:
        return "no token to learn found in the row; an assistant turn with text is expected"
    before = example.trained.index(True, 1)
    found = f"{before} tokens found before the first one to learn, so that nothing to learn is left in the window"
    return f"{found} ({_caps(settings)}); raise max_length or shorten the prompt"


def _pair(conversation: Conversation, tokenizer: Tokenizer, settings: DataSettings, cut: list[str]) -> Example:
    if conversation.text:
        raise BadRow("text", "running text found; an encoder-decoder network needs a prompt and an answer")
    answer = max(index for index, turn in enumerate(conversation.turns) if turn.role == "assistant")
    if answer == 0:
        raise BadRow("messages[0]", "an answer without anything before it found; the encoder would read nothing")
    own = chat_template(tokenizer)
    source = (
        conversation.prompt if conversation.prompt and not own else prompt_text(conversation.turns[:answer], tokenizer)
    )
    read = list(tokenizer(source, add_special_tokens=not own, verbose=False)["input_ids"])
    written = list(tokenizer(conversation.turns[answer].content, add_special_tokens=False, verbose=False)["input_ids"])
    written += surroundings(tokenizer)[1]
    caps = settings.source_max_length or settings.max_length, settings.target_max_length or settings.max_length
    if len(read) > caps[0] or len(written) > caps[1]:
        if settings.truncation == "stop":
            found = f"{len(read)} tokens to read and {len(written)} to write found"
            raise BadRow("", f"{found}, at most {caps[0]} and {caps[1]} allowed; raise the caps or shorten the row")
        cut.append(conversation.place)
    read, written = read[: caps[0]], written[: caps[1]]
    return Example(read, [False] * len(read), conversation.place, written)


def _settled(
    account: _Account, rows: RowSet | Iterable[Conversation], settings: DataSettings, *, wording: str
) -> EncodedSet:
    source = rows.source if isinstance(rows, RowSet) else "the conversations"
    if account.problems and settings.on_bad_row == "stop":
        raise refusal(account.problems, source)
    if not account.examples:
        listed = "".join(f"\n  {problem}" for problem in account.problems[:3])
        raise DataError(f"{source}: no row is left to learn from. Correct the rows or the window.{listed}")
    notes = [wording]
    if account.cut:
        first = ", ".join(account.cut[:3])
        notes.append(
            f"{len(account.cut)} of {len(account.examples)} examples were longer than the window ({_caps(settings)}) "
            f"and lost their right end: {first}{', ...' if len(account.cut) > 3 else ''}."
        )
    if account.problems:
        count, more = len(account.problems), ", ..." if len(account.problems) > 1 else ""
        notes.append(f"{count} {'row was' if count == 1 else 'rows were'} left out: {account.problems[0]}{more}")
    return EncodedSet(tuple(account.examples), tuple(account.problems), tuple(account.cut), tuple(notes))
