"""What happened since the server began, in Prometheus' text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class Metrics:
    """Counts of one server; for the thread of its event loop.

    Attributes:
        requests: by path and status; unknown paths are counted together.
        seconds: spent on finished requests, by path.
        answers: by how they ended.
        clients_gone: requests whose client went before the end.
        first_token_s: sum of the times to the first token.
        first_tokens: how many of these.
    """

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    clients_gone: int = 0
    first_token_s: float = 0.0
    first_tokens: int = 0

    def note_request(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has been answered."""
        self.requests[path, status] += 1
        self.seconds[path] += seconds  # type: ignore[assignment]  # a Counter of floats

    def note_first_token(self, seconds: float) -> None:
        """Count the first token of a request."""
        self.first_token_s += seconds
        self.first_tokens += 1


def prometheus(metrics: Metrics, gauges: Mapping[str, float], tokens: Mapping[str, int]) -> str:
    """Write everything down.

    Args:
        metrics: of the server.
        gauges: what is so now, by name without the prefix.
        tokens: counters of the engine by kind.
    """
    lines = _counter("requests_total", "HTTP requests answered.")
    lines += [_line("requests_total", n, path=p, status=str(s)) for (p, s), n in sorted(metrics.requests.items())]
    lines += _counter("request_seconds_total", "Seconds spent on HTTP requests.")
    lines += [_line("request_seconds_total", s, path=path) for path, s in sorted(metrics.seconds.items())]
    lines += _counter("answers_total", "Answers by how they ended.")
    lines += [_line("answers_total", n, reason=reason) for reason, n in sorted(metrics.answers.items())]
    lines += _counter("tokens_total", "Tokens read, not read because they were known, and written.")
    lines += [_line("tokens_total", n, kind=kind) for kind, n in sorted(tokens.items())]
    for name, text, value in (
        ("clients_gone_total", "Requests whose client went before the end.", metrics.clients_gone),
        ("first_token_seconds_sum", "Seconds from a request to its first token.", metrics.first_token_s),
        ("first_token_seconds_count", "Requests that got a first token.", metrics.first_tokens),
    ):
        lines += [*_counter(name, text), _line(name, value)]
    for name, value in sorted(gauges.items()):
        lines += [f"# TYPE trimtab_{name} gauge", _line(name, value)]
    return "\n".join(lines) + "\n"


def _counter(name: str, text: str) -> list[str]:
    return [f"# HELP trimtab_{name} {text}", f"# TYPE trimtab_{name} counter"]


def _line(name: str, value: float, **labels: str) -> str:
    """Write a value to its last digit, since rates come of differences."""
    inside = ",".join(f'{key}="{text}"' for key, text in labels.items())
    return f"trimtab_{name}{f'{{{inside}}}' if inside else ''} {value!r}"
