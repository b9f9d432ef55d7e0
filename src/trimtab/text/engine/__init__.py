"""The one generation engine: token ids in, events out."""

from trimtab.text.engine.constraint import Choices, Constraint, JsonSchema, Regex
from trimtab.text.engine.engine import Engine, Ticket
from trimtab.text.engine.events import Answer, Counters, Event, Finished, Piece, TokenLogprob, Usage
from trimtab.text.engine.request import Request, Sampling

__all__ = [
    "Answer",
    "Choices",
    "Constraint",
    "Counters",
    "Engine",
    "Event",
    "Finished",
    "JsonSchema",
    "Piece",
    "Regex",
    "Request",
    "Sampling",
    "Ticket",
    "TokenLogprob",
    "Usage",
]
