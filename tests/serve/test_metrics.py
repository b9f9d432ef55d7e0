"""What Prometheus reads."""

from __future__ import annotations

import re

import pytest

import serving
from serving import ASKED
from trimtab.serve.metrics import Metrics, prometheus

LINE = re.compile(r"trimtab_(\w+)(?:\{(.*)\})? (\S+)")


def values(text):
    """Read the values by name and labels."""
    found = [LINE.fullmatch(line) for line in text.splitlines() if not line.startswith("#")]
    return {(match[1], match[2] or ""): float(match[3]) for match in found}


def test_every_digit_of_a_count_is_written():
    metrics = Metrics()
    metrics.requests["/health", 200] = 1_234_567_891
    metrics.seconds["/health"] = 1_234_567.0625
    metrics.first_token_s = 98_765_432.125
    read = values(prometheus(metrics, {"kept_bytes": 268_435_457}, {"generated": 987_654_321}))
    assert read["requests_total", 'path="/health",status="200"'] == 1_234_567_891
    assert read["request_seconds_total", 'path="/health"'] == 1_234_567.0625
    assert read["tokens_total", 'kind="generated"'] == 987_654_321
    assert read["first_token_seconds_sum", ""] == 98_765_432.125
    assert read["kept_bytes", ""] == 268_435_457


def test_whole_numbers_are_written_without_a_fraction():
    assert "trimtab_clients_gone_total 0\n" in prometheus(Metrics(), {}, {})


@pytest.mark.parametrize(("asked", "count"), [({}, 1), ({"response_format": {"type": "json_object"}}, 0)])
def test_only_what_has_a_first_token_counts_as_one(asked, count, monkeypatch):
    with serving.serving() as server, server.http() as http:  # without an end token no grammar can be kept to
        status = http.post("/v1/chat/completions", json=ASKED | asked).status_code
        read = values(http.get("/metrics").text)
    assert status == (200 if count else 400)
    assert read["first_token_seconds_count", ""] == count
    assert read["requests_total", f'path="/v1/chat/completions",status="{status}"'] == 1
