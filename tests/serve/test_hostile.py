"""Whatever a client sends gets an answer of its own making: 4xx, OpenAI's shape, and nothing stays behind."""

from __future__ import annotations

import json

import pytest

import engines
from serving import ASKED, BASE, eventually
from trimtab.core.memory import resident_bytes

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
GROWTH_BYTES = 8 << 20
ROUNDS = 10
TURN = {"role": "user", "content": "on"}


def changed(**changes):
    return ASKED | changes


FIELDS = {
    "temperature": [-1, 1e300, 10**400, "hot", True, [], {}, -0.0001],
    "top_p": [0, -1, 1.5, "all"],
    "top_k": [-1, 1.5, 10**9, "few"],
    "min_p": [-0.1, 2],
    "repetition_penalty": [0, -1, 1e9],
    "max_tokens": [0, -1, 10**9, 1.5, "many", True, 2**70],
    "max_completion_tokens": [0, -5],
    "n": [0, -1, 129, 10**9, 1.5],
    "seed": [2**63, -(2**63) - 1, 1.5, "luck"],
    "stop": ["", ["a"] * 17, [1], "s" * 1001, {"a": 1}, [""], [None]],
    "stream": ["yes", 1],
    "stream_options": [{"include_usage": True}, "usage", {"unknown": 1}],
    "logprobs": [1, "yes"],
    "top_logprobs": [5, -1, 21, 1.5],
    "response_format": [
        "json",
        {},
        {"type": "xml"},
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": {}},
    ],
    "model": [None, 1, "", "tiny:", "tiny:none", "TINY", "../tiny", "/etc/passwd", "x" * 600, "\x00"],
    "messages": [None, [], "hi", [[]], [{}], ["hi"], {}, [None], [{"role": "user"}], [{"content": "hi"}]],
    "tools": [[{"type": "function", "function": {"name": "f"}}]],
    "functions": [[{"name": "f"}]],
    "tool_choice": ["required"],
    "logit_bias": [{"1": 5}],
    "presence_penalty": [2.5, -3, "much"],
    "frequency_penalty": [-2.1, 10, True],
    "modalities": [["text", "audio"]],
    "audio": [{"voice": "alloy"}],
    "web_search_options": [{"search_context_size": "low"}],
    "store": [True],
    "echo": [True],
    "unknown": [1],
    "__class__": ["x"],
}
TURNS = [
    TURN | {"role": "tool"},
    TURN | {"role": "function", "name": "f"},
    TURN | {"role": "\x00"},
    TURN | {"role": None},
    TURN | {"content": None},
    TURN | {"content": 5},
    TURN | {"content": {"text": "hi"}},
    TURN | {"content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
    TURN | {"content": [{"type": "input_audio", "input_audio": {"data": ""}}]},
    TURN | {"content": [{"type": "file", "file": {"file_id": "/etc/passwd"}}]},
    TURN | {"content": [{"type": "text"}]},
    TURN | {"content": ["hi"]},
    TURN | {"tool_calls": [{"id": "1"}]},
    TURN | {"extra": 1},
]
SCHEMAS = [
    {"type": "nonsense"},
    {"$ref": "http://evil.example/schema"},
    {"$ref": "#/missing"},
    {"type": "string", "pattern": "(?=a)"},
    {"type": "string", "pattern": "("},
    {"anyOf": []},
    {"minimum": "x"},
    {"type": "object", "required": ["a"], "properties": {"a": False}},
]
BODIES = {
    "nothing": b"",
    "a list": b"[]",
    "a number": b"5",
    "null": b"null",
    "no JSON": b"{",
    "more after it": b"{} {}",
    "single quotes": b"{'model': 'tiny'}",
    "invalid UTF-8": b'{"model": "\xff"}',
    "UTF-16": json.dumps(ASKED).encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(ASKED).encode(),
    "half a surrogate pair": json.dumps(changed(messages=[TURN | {"content": "\ud800"}])).encode(),
    "half a pair as a key": b'{"\\ud800": 1}',
    "NaN": json.dumps(changed(temperature=float("nan"))).encode(),
    "infinity": json.dumps(changed(temperature=float("inf"))).encode(),
    "minus infinity": json.dumps(changed(temperature=float("-inf"))).encode(),
    "a number too large": b'{"temperature": 1e999}',
    "a number of many digits": b'{"seed": ' + b"9" * 10_000 + b"}",
    "a key twice": b'{"model": "tiny", "model": "tiny:first"}',
    "a key twice inside": b'{"messages": [{"role": "user", "role": "system"}]}',
    "deep lists": b'{"messages": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep enough": b'{"a":' * 70 + b"1" + b"}" * 70,
    "never closed": b"[" * 500_000,
    "a NUL": b"\x00",
}
PROMPTS = [
    None,
    "",
    [],
    [[]],
    [""],
    [-1],
    [10**6],
    [2**64],
    [1.5],
    [True],
    [[1], "a"],
    {"a": 1},
    "on " * 500,
    [65] * 129,
]
PROMPTS += [["a"] * 200, [None], 5]


def cases():
    for name, values in FIELDS.items():
        yield from (pytest.param(CHAT, changed(**{name: value}), name, id=f"{name}={value!r:.40}") for value in values)
    for turn in TURNS:
        yield pytest.param(CHAT, changed(messages=[turn]), "messages[0]", id=f"turn {turn!r:.60}")
    for schema in SCHEMAS:
        chosen = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        yield pytest.param(CHAT, changed(response_format=chosen), "", id=f"schema {schema!r:.60}")
    for prompt in PROMPTS:
        yield pytest.param(COMPLETIONS, {"model": BASE, "prompt": prompt}, "", id=f"prompt {prompt!r:.40}")
    for name, value in (("suffix", "x"), ("best_of", 3), ("echo", True), ("logprobs", 21), ("logprobs", True)):
        yield pytest.param(COMPLETIONS, {"model": BASE, "prompt": "on", name: value}, name, id=f"{name}={value}")


ALL = list(cases())


def refused(reply):
    """Check the shape of a refusal; give its code."""
    assert 400 <= reply.status_code < 500, reply.text
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "?"))
    assert len(error["message"]) < 1000
    return error["code"]


def posted(http, path, document, **headers):
    """Post a document, or a body as it is; headers with _ in place of -."""
    body = json.dumps(document) if isinstance(document, dict) else document
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return http.post(path, content=body, headers={"Content-Type": "application/json", **named})


@pytest.mark.parametrize(("path", "document", "field"), ALL)
def test_a_request_that_is_not_allowed_is_refused_by_the_name_of_its_field(server, http, path, document, field):
    reply = posted(http, path, document)
    refused(reply)
    assert (reply.json()["error"]["param"] or "").startswith(field)
    assert eventually(lambda: server.service.taken == 0)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_json_object_is_refused_as_that(http, body):
    assert refused(posted(http, CHAT, body)) == "invalid_json"


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_known_before_the_first_token_has_a_status_streamed_or_not(http, stream):
    asked = changed(stream=stream, messages=[TURN | {"content": "trim " * 200}])
    assert refused(posted(http, CHAT, asked)) == "context_length_exceeded"


def test_many_messages_are_refused_by_number(http):
    assert refused(posted(http, CHAT, changed(messages=[TURN] * 5000))) == "invalid_value"


def test_a_hundred_thousand_messages_are_refused_by_size(http):
    reply = posted(http, CHAT, changed(messages=[TURN] * 100_000))
    assert (reply.status_code, refused(reply)) == (413, "body_too_large")


def test_a_body_in_chunks_is_counted_too(http):
    reply = posted(http, CHAT, (b" " * 65_536 for _ in range(32)))
    assert (reply.status_code, refused(reply)) == (413, "body_too_large")


@pytest.mark.parametrize("kind", ["text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data", "json"])
def test_other_kinds_of_content_are_refused(http, kind):
    reply = posted(http, CHAT, ASKED, Content_Type=kind)
    assert (reply.status_code, refused(reply)) == (415, "unsupported_media_type")


def test_packed_content_is_refused(http):
    assert refused(posted(http, CHAT, b"x", Content_Encoding="gzip")) == "unsupported_media_type"


PATHS = ["/v1", "/v1/models/none", "/v1/chat", "/../etc/passwd", "/v1/../../etc", "/%2e%2e/%2e%2e/etc/passwd"]


@pytest.mark.parametrize("path", [*PATHS, "/v1/models/tiny%00", "/v1/models/..%2f..%2fetc", "/docs"])
def test_what_is_not_there_is_not_found(http, path):
    assert http.get(path).status_code == 404
    refused(http.get(path))


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CHAT), ("DELETE", "/v1/models"), ("PUT", "/health"), ("TRACE", "/")]
)
def test_other_methods_are_refused(http, method, path):
    content = {"Content-Type": "application/json"}
    assert refused(http.request(method, path, headers=content)) == "method_not_allowed"


def test_what_asks_for_nothing_is_taken(http):
    neutral = {"tools": [], "tool_choice": None, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": None}
    neutral |= {"user": "somebody", "metadata": {"a": "b"}, "modalities": ["text"], "store": False, "functions": None}
    neutral |= {"temperature": None, "stop": None, "n": None, "response_format": {"type": "text"}}
    turn = TURN | {"tool_calls": None, "audio": None, "refusal": None, "name": "me"}
    assert posted(http, CHAT, changed(messages=[turn], **neutral)).status_code == 200


def test_text_of_every_kind_is_taken_and_is_only_text(server, http, monkeypatch):
    content, prompts = "\x00\x01\u202e\U0001f600 <|im_end|> {{ 7 * 7 }} \r\n", []
    submit = server.service.submit
    monkeypatch.setattr(
        server.service, "submit", lambda job, n, request: prompts.append(request.prompt) or submit(job, n, request)
    )
    for text in (content, "on"):
        assert posted(http, CHAT, changed(messages=[TURN | {"content": text}])).status_code == 200
    said, plain = prompts
    assert content in engines.tokenizer().decode(said)
    for special in engines.tokenizer().all_special_ids:
        assert said.count(special) == plain.count(special)


def test_refusing_costs_no_memory(http):
    def refuse():
        for case in ALL[::7]:
            refused(posted(http, *case.values[:2]))
        for body in BODIES.values():
            refused(posted(http, CHAT, body))

    refuse()
    before = resident_bytes()
    for _ in range(ROUNDS):
        refuse()
    assert resident_bytes() - before < GROWTH_BYTES
