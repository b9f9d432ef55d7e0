"""Settings of a training run: one frozen record, read from a TOML file and from ``key=value`` words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

from trimtab.core.errors import MissingError, RangeError, UsageError, did_you_mean
from trimtab.train.data.settings import LossOn, OnBadRow, Truncation

Method = Literal["qlora", "lora", "int8", "full"]
Schedule = Literal["constant", "linear", "cosine"]
QuantType = Literal["nf4", "fp4", "int4"]

MAX_CONFIG_BYTES: Final = 1 << 20
MAX_SHOWN: Final = 60
TARGET: Final = re.compile(r"\w[\w.]*")


@dataclass(frozen=True)
class TrainSettings:
    """Everything that decides the outcome of a run, besides the model and the data.

    Attributes:
        method: "qlora" (4-bit base), "lora" (base as stored), "int8" (8-bit base) or "full" (no adapter).
        steps: optimizer steps; 0 derives them from ``epochs``.
        epochs: passes over the data, used where ``steps`` is 0.
        batch_size: examples (or packed windows) a forward pass.
        accumulate: forward passes an optimizer step.
        max_length: longest example in tokens; longer ones are cut.
        source_max_length: longest prompt in tokens; 0 for no limit of its own.
        target_max_length: longest answer in tokens; 0 for no limit of its own.
        lr: peak learning rate.
        schedule: course of the learning rate after the warm-up.
        warmup_steps: steps over which it rises from 0.
        weight_decay: decoupled decay a step, times the learning rate.
        beta1: decay of the first moment.
        beta2: decay of the second moment.
        clip_norm: largest gradient norm; 0 for no clipping.
        rank: inner width of the adapter.
        alpha: strength of the adapter; the update is scaled by alpha / rank.
        dropout: probability of dropping an input of the adapter.
        targets: endings of layer names to adapt; empty for every linear layer but the head.
        rank_stabilised: scale by alpha / sqrt(rank).
        quant_type: code of the 4-bit base.
        double: quantize the scales of the 4-bit base too.
        block_size: weights per scale.
        optimizer_bits: 32 or 8 bits of optimizer state.
        optimizer_budget: bytes of optimizer state kept in memory, the rest paged out; 0 for no limit.
        loss_on: "targets" (answers), "last" (the last answer) or "all" tokens.
        group_by_length: put examples of similar length into one batch.
        packing: put several examples into one window, none of which sees another.
        gradient_checkpointing: compute activations again in the backward pass instead of keeping them.
        eval_fraction: part of the data held out.
        eval_every: steps between evaluations; 0 for the end only.
        eval_limit: most held-out examples looked at.
        save_every: steps between checkpoints.
        keep: checkpoints kept.
        patience: evaluations without improvement after which the run stops; 0 to go on.
        time_limit_s: seconds after which the run stops; 0 for no limit.
        on_bad_row: "stop" or "skip" rows that cannot be used.
        truncation: "cut" rows longer than the window at their end, or "stop" for a list of them.
        seed: of everything that is drawn at random.
    """

    method: Method = "qlora"
    steps: int = 0
    epochs: float = 1.0
    batch_size: int = 4
    accumulate: int = 4
    max_length: int = 512
    source_max_length: int = 0
    target_max_length: int = 0
    lr: float = 2e-4
    schedule: Schedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    clip_norm: float = 0.3
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = field(default=())
    rank_stabilised: bool = False
    quant_type: QuantType = "nf4"
    double: bool = True
    block_size: int = 64
    optimizer_bits: int = 32
    optimizer_budget: int = 0
    loss_on: LossOn = "targets"
    group_by_length: bool = True
    packing: bool = False
    gradient_checkpointing: bool = False
    eval_fraction: float = 0.05
    eval_every: int = 0
    eval_limit: int = 200
    save_every: int = 50
    keep: int = 2
    patience: int = 0
    time_limit_s: float = 0.0
    on_bad_row: OnBadRow = "stop"
    truncation: Truncation = "cut"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every range.

        Raises:
            RangeError: a value, or a combination of values, is not allowed.
        """
        for name in _CHOICES:
            _check_choice(name, getattr(self, name))
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise RangeError(f"{name} = {shown(getattr(self, name))}: allowed is {least} to {most}.")
        for target in self.targets:
            if not TARGET.fullmatch(target):
                raise RangeError(f"targets: {shown(target)} names no layer. Allowed: endings of names, as in q_proj.")
        for refused, message in self._combinations():
            if refused:
                raise RangeError(message)

    def _combinations(self) -> tuple[tuple[bool, str], ...]:
        """List what contradicts itself, and what to do about it."""
        return (
            (
                self.method == "full" and bool(self.targets or self.dropout),
                "method = full trains every weight: targets and dropout belong to adapters. Remove them.",
            ),
            (
                self.steps == 0 and self.epochs == 0,
                "steps = 0 and epochs = 0: nothing would be trained. Set one of them.",
            ),
            (
                self.patience > 0 and self.eval_every == 0,
                f"patience = {self.patience} counts evaluations, but eval_every = 0 plans none. Set eval_every too.",
            ),
            (
                self.eval_every > 0 and self.eval_fraction == 0,
                f"eval_every = {self.eval_every}, but eval_fraction = 0 holds nothing out. Set eval_fraction too.",
            ),
        )

    def to_toml(self) -> str:
        """Write the settings as a TOML document that ``read_settings`` takes."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in asdict(self).items())


_CHOICES: Final[Mapping[str, tuple[Any, ...]]] = MappingProxyType(
    {
        "method": get_args(Method),
        "schedule": get_args(Schedule),
        "loss_on": get_args(LossOn),
        "quant_type": get_args(QuantType),
        "on_bad_row": get_args(OnBadRow),
        "truncation": get_args(Truncation),
        "block_size": (32, 64, 128, 256, 512, 1024, 2048, 4096),
        "optimizer_bits": (32, 8),
    }
)
_RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "steps": (0, 10**9),
        "epochs": (0, 10**6),
        "batch_size": (1, 65_536),
        "accumulate": (1, 65_536),
        "max_length": (2, 2**24),
        "source_max_length": (0, 2**24),
        "target_max_length": (0, 2**24),
        "lr": (0, 100),
        "warmup_steps": (0, 10**9),
        "weight_decay": (0, 100),
        "beta1": (0, 0.999999),
        "beta2": (0, 0.999999),
        "clip_norm": (0, 1e9),
        "rank": (1, 65_536),
        "alpha": (1e-6, 1e6),
        "dropout": (0, 0.99),
        "optimizer_budget": (0, 2**62),
        "eval_fraction": (0, 0.9),
        "eval_every": (0, 10**9),
        "eval_limit": (1, 10**9),
        "save_every": (1, 10**9),
        "keep": (1, 10**6),
        "patience": (0, 10**6),
        "time_limit_s": (0, 10**9),
        "seed": (0, 2**63 - 1),
    }
)

GUANACO: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "method": "qlora",
        "steps": 1875,
        "batch_size": 1,
        "accumulate": 16,
        "max_length": 528,
        "loss_on": "all",  # the whole conversation stands in the paper's target
        "source_max_length": 16,
        "target_max_length": 512,
        "lr": 2e-4,
        "schedule": "constant",
        "beta2": 0.999,
        "clip_norm": 0.3,
        "rank": 64,
        "alpha": 16.0,
        "dropout": 0.1,
        "quant_type": "nf4",
        "double": True,
        "optimizer_bits": 32,
        "group_by_length": True,
        "gradient_checkpointing": True,
    }
)
RECIPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType({"guanaco": GUANACO})
"""Named sets of settings; guanaco is arXiv:2305.14314, appendix B and table 9 (7B and 13B, OASST1)."""


def _check_choice(name: str, value: Any) -> None:
    choices = _CHOICES.get(name)
    if choices is not None and value not in choices:
        raise RangeError(f"{name} = {shown(value)}: allowed is {', '.join(map(str, choices))}.")


def read_settings(
    *,
    config: Path | None = None,
    recipe: str | None = None,
    words: Iterable[str] = (),
    overrides: Mapping[str, Any] = MappingProxyType({}),
) -> TrainSettings:
    """Resolve settings: defaults, then a recipe, then a TOML file, then ``key=value`` words, then overrides.

    Raises:
        MissingError: no such recipe or file.
        UsageError: a key is unknown (near ones are named) or a value cannot be read.
        RangeError: a value is not allowed.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        if recipe not in RECIPES:
            raise MissingError(f"no recipe {recipe!r}. {did_you_mean(recipe, RECIPES)}")
        values |= RECIPES[recipe]
    if config is not None:
        values |= _checked(_read_toml(config), str(config))
    values |= _checked(dict(_split(word) for word in words), "--set")
    values |= _checked(dict(overrides), "options")
    return replace(TrainSettings(), **values)


def _read_toml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingError(f"{path} does not exist. --config takes a TOML file of settings.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise UsageError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes: that is no file of settings.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # bad TOML, bad UTF-8 and numbers of thousands of digits
        raise UsageError(f"{path} is no TOML file: {shortened(str(error))}. Write lines like: lr = 2e-4") from error


def _split(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set {shown(word)}: expected key=value, as in --set lr=2e-4.")
    return key.strip(), value.strip()


def _checked(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Read each value in the type of its field."""
    defaults = {f.name: getattr(TrainSettings(), f.name) for f in fields(TrainSettings)}
    checked = {}
    for key, value in values.items():
        if key not in defaults:
            raise UsageError(f"{source}: unknown setting {shown(key)}. {did_you_mean(key, defaults)}")
        checked[key] = _read_as(defaults[key], value, f"{source}: {key}")
        _check_choice(key, checked[key])
    return checked


def _read_as(default: Any, value: Any, where: str) -> Any:
    """Turn a TOML value or a word into the type of ``default``."""
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
            raise UsageError(f"{where} = {shown(value)}: expected names, as in q_proj,v_proj.")
        return tuple(item.strip() for item in items if item.strip())
    if isinstance(value, str) and not isinstance(default, str):
        value = _parse_word(default, value, where)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(default):
        wanted = type(default).__name__
        raise UsageError(f"{where} = {shown(value)}: expected {wanted}, found {type(value).__name__}.")
    return value


def _parse_word(default: Any, word: str, where: str) -> Any:
    if isinstance(default, bool):
        if word.lower() not in ("true", "false"):
            raise UsageError(f"{where} = {shown(word)}: expected true or false.")
        return word.lower() == "true"
    try:
        return type(default)(word)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise UsageError(f"{where} = {shown(word)}: expected {kind}.") from None


def shown(value: Any) -> str:
    """Write a value that somebody gave, short enough for one line of an error message."""
    try:
        return shortened(repr(value))
    except ValueError:  # Python refuses to write whole numbers of thousands of digits
        return "a huge number"


def shortened(text: str) -> str:
    """Cut a text that would fill the screen."""
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_SHOWN else f"{flat[:MAX_SHOWN]}..."


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)
