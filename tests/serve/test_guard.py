"""Who is let in: by the name they call, the page they come from, the token they bring."""

from __future__ import annotations

import types

import pytest

import serving
from serving import ASKED, eventually
from trimtab.serve.api_error import ApiError
from trimtab.serve.guard import Rules, check

TOKEN = "a token of many characters"


def scope(path="/v1/models", **headers):
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "path": path, "headers": pairs}


def rules(*, token=None, hosts=()):
    return Rules(token=token, hosts=frozenset(hosts), open_paths=frozenset(("/health",)))


OURS = ["localhost", "localhost:8765", "LocalHost:1", "127.0.0.1:8765", "[::1]:8765", "[::1]", "localhost."]
STRANGE = ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.5", "", "user@localhost"]
STRANGE += ["localhost:port", "localhost:99999", "[::1", "localhost/evil", "0.0.0.0", "[::]", "2130706433", "\xff"]


@pytest.mark.parametrize("host", OURS)
def test_names_of_this_machine_are_ours(host):
    check(scope(host=host), rules())


@pytest.mark.parametrize("host", STRANGE)
def test_other_names_are_refused_so_that_no_site_can_point_its_own_here(host):
    with pytest.raises(ApiError, match="not this server's") as caught:
        check(scope(host=host), rules())
    assert caught.value.status == 403


def test_two_hosts_are_none():
    with pytest.raises(ApiError):
        check({"path": "/", "headers": [(b"host", b"localhost"), (b"host", b"localhost")]}, rules())


def test_a_name_may_be_allowed():
    check(scope(host="models.example:443"), rules(hosts=["models.example"]))


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Cross-Site"])
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_a_page_of_another_site_can_make_a_browser_fetch_nothing(site, kind):
    with pytest.raises(ApiError, match="another site") as caught:
        check(scope(host="localhost", sec_fetch_site=site) | {"type": kind}, rules())
    assert caught.value.status == 403


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_the_own_page_and_the_address_bar_can(site):
    check(scope(host="localhost", sec_fetch_site=site), rules())


def test_an_origin_says_more_than_the_site_of_which_browsers_differ_for_sockets():
    headers = scope(host="localhost:8765", origin="http://localhost:8765", sec_fetch_site="same-site")
    check(headers | {"type": "websocket"}, rules())


def test_what_is_open_may_be_linked_to_from_anywhere():
    check(scope("/health", host="localhost", sec_fetch_site="cross-site"), rules())


def test_the_page_may_be_linked_to_from_anywhere_and_its_drags_may_not(server):
    with server.http(headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}) as http:
        assert [http.get(path).status_code for path in ("/", "/page/app.js", "/v1/models")] == [200, 200, 403]


@pytest.mark.parametrize("host", ["192.168.1.5:8765", "[fe80::1]:8765"])
def test_addresses_in_numbers_may_be_allowed_together(host):
    check(scope(host=host), rules(hosts=["*"]))


@pytest.mark.parametrize("host", ["evil.example", "192.168.1.5.evil.example"])
def test_allowing_numbers_allows_no_names(host):
    with pytest.raises(ApiError):
        check(scope(host=host), rules(hosts=["*"]))


@pytest.mark.parametrize("origin", ["http://localhost:8765", "https://localhost:8765", "HTTP://LOCALHOST:8765"])
def test_the_own_page_may_call(origin):
    check(scope(host="localhost:8765", origin=origin), rules())


FOREIGN = ["null", "http://evil.example", "http://localhost", "http://localhost:1", "http://127.0.0.1:8765", "file://"]


@pytest.mark.parametrize("origin", [*FOREIGN, "http://localhost:8765.evil.example", "http://[", "localhost:8765", ""])
def test_other_pages_may_not(origin):
    with pytest.raises(ApiError, match="another site") as caught:
        check(scope(host="localhost:8765", origin=origin), rules())
    assert caught.value.status == 403


def test_the_token_lets_in():
    check(scope(host="localhost", authorization=f"Bearer {TOKEN}"), rules(token=TOKEN))


WRONG = [{}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": "Bearer "}]
WRONG += [{"authorization": TOKEN}, {"authorization": f"Basic {TOKEN}"}, {"authorization": f"Bearer {TOKEN}x"}]
WRONG += [{"authorization": f"Bearer {TOKEN[:-1]}"}, {"authorization": "Bearer \xff"}, {"x_api_key": TOKEN}]


@pytest.mark.parametrize("headers", WRONG)
@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/api/runs", "/health/", "/nothing"])
def test_nothing_else_does_anywhere(path, headers):
    with pytest.raises(ApiError, match="token") as caught:
        check(scope(path, host="localhost", **headers), rules(token=TOKEN))
    assert caught.value.status == 401


def test_health_needs_no_token():
    check(scope("/health", host="localhost"), rules(token=TOKEN))


@pytest.fixture(scope="module")
def guarded():
    with serving.serving(token=TOKEN) as running:
        yield running


def test_the_real_client_brings_its_key_as_the_token(guarded):
    with guarded.openai(api_key=TOKEN) as client:
        assert client.chat.completions.create(**ASKED).choices


@pytest.mark.parametrize("path", ["/v1/models", "/metrics", "/openapi.json", "/nothing", "/docs"])
def test_every_route_asks_for_the_token(guarded, path):
    with guarded.http() as http:
        reply = http.get(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
    assert reply.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/", "/health"])
def test_the_page_and_health_do_not(guarded, path):
    with guarded.http() as http:
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("path", ["/", "/health", "/nothing", "/v1/models"])
def test_every_reply_tells_browsers_to_be_careful(http, path):
    headers = http.get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'self'")
    assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


def test_a_site_gets_no_leave_to_call(http):
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    reply = http.options("/v1/chat/completions", headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (403, "origin_not_allowed")


def test_a_refused_request_costs_nothing(server, http):
    before = server.service.engine.counters.prefilled
    http.post("/v1/chat/completions", json=ASKED, headers={"Origin": "http://evil.example"})
    assert (server.service.taken, server.service.engine.counters.prefilled) == (0, before)


@pytest.fixture
def faulty(monkeypatch):
    """A server with a bug in it."""
    with serving.serving() as running:
        names = running.service.names

        def broken():
            raise ZeroDivisionError("a secret")

        running.service.names = types.SimpleNamespace(all=broken, base=names.base)
        yield running


def test_a_fault_of_the_server_is_answered_counted_and_logged_as_careful_as_all_else(faulty, caplog):
    with faulty.http() as http, caplog.at_level("CRITICAL"):
        reply = http.get("/v1/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["content-security-policy"].startswith("default-src 'self'")
    assert "secret" not in reply.text
    assert eventually(lambda: faulty.service.metrics.requests["/v1/models", 500] == 1)  # counted once it was answered


def test_a_host_that_is_refused_is_told_the_option_that_allows_it():
    with pytest.raises(ApiError, match="--allow-host"):
        check(scope(host="models.example"), rules())
