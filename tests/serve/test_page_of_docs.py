"""The example on the page about serving runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

from serving import BASE, FIRST

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "serve.md"


def test_the_example_streams_an_answer(server, capsys):
    (code,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for theirs, ours in (
        ("http://127.0.0.1:8765", server.url),
        ("smollm2:mine", FIRST),
        ("max_tokens=60", "max_tokens=9"),
    ):
        assert theirs in code
        code = code.replace(theirs, ours)
    names: dict[str, object] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    names["client"].close()
    written = server.service.engine.counters.generated
    assert capsys.readouterr().out
    assert written == 9


def test_a_body_of_curl_is_taken(http):
    (body,) = re.findall(r"-d '(.*?)'", PAGE.read_text(encoding="utf-8"))
    body = body.replace("smollm2", BASE)
    assert http.post("/v1/completions", content=body, headers={"Content-Type": "application/json"}).json()["usage"]
