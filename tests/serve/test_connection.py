"""Clients that speak no HTTP, too slowly, or do not listen."""

from __future__ import annotations

import json
import socket

import pytest

import serving
from serving import eventually
from trimtab.core.errors import UsageError
from trimtab.serve.connection import Connection
from trimtab.serve.limits import Limits
from trimtab.serve.running import is_loopback, listen

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
CROWD = 60


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=5)


def rest_of(connection):
    """Read to the end; an abort is an end."""
    content = b""
    try:
        while part := connection.recv(65_536):
            content += part
    except ConnectionResetError:
        pass
    return content


def is_alive(server):
    with server.http() as http:
        return http.get("/health").status_code == 200


@pytest.fixture
def hasty(monkeypatch):
    """A server that waits for nobody."""
    monkeypatch.setattr(Connection, "header_timeout_s", 0.2)
    monkeypatch.setattr(Connection, "stalled_timeout_s", 0.2)
    monkeypatch.setattr(Limits.__init__, "__kwdefaults__", {"timeout_s": 0.2})
    with serving.serving() as running:
        yield running


GARBAGE = [
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"HELLO\r\n\r\n",
    b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
]
GARBAGE += [b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n"]
GARBAGE += [
    b"GET \xff HTTP/1.1\r\nHost: a\r\n\r\n",
]
GARBAGE += [HEAD + b"Content-Length: -1\r\n\r\n", HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n"]
GARBAGE += [HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", HEAD + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n"]


@pytest.mark.parametrize("content", GARBAGE, ids=lambda content: repr(content[:40]))
def test_what_is_no_http_is_refused_in_the_same_shape(server, content):
    with connect(server) as connection:
        connection.sendall(content)
        head, _, body = rest_of(connection).partition(b"\r\n\r\n")
    assert head.split()[1][:1] == b"4"
    assert set(json.loads(body)) == {"error"}
    assert is_alive(server)


def test_headers_without_end_are_cut_off_at_some_length(server):
    def pour(connection):
        for _ in range(10_000):
            connection.sendall(b"GET /health HTTP/1.1\r\nX: " + b"a" * 100_000)

    with connect(server) as connection, pytest.raises(OSError, match=r"Broken pipe|reset"):
        pour(connection)
    assert is_alive(server)


def test_an_idle_connection_is_closed(hasty):
    with connect(hasty) as connection:
        assert rest_of(connection) == b""


def test_headers_that_never_end_are_cut_off(hasty):
    with connect(hasty) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        assert rest_of(connection) == b""


def test_headers_that_drip_are_cut_off_all_the_same(hasty):
    with connect(hasty) as connection:

        def drip():
            try:
                connection.send(b"a")
            except OSError:
                return True
            return False

        connection.sendall(b"GET /health HTTP/1.1\r\nX: ")
        assert eventually(drip, 3)


def test_the_second_request_of_a_connection_is_watched_too(hasty):
    with connect(hasty) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in connection.recv(65_536)
        connection.sendall(b"GET /health")
        assert b"HTTP/1.1" not in rest_of(connection)


def test_a_body_that_never_comes_is_answered_and_closed(hasty):
    with connect(hasty) as connection:
        connection.sendall(HEAD + b"Content-Length: 100\r\n\r\n{")
        reply = rest_of(connection)
    assert reply.startswith(b"HTTP/1.1 408")
    assert b"within 0.2 s" in reply


def test_a_crowd_of_slow_senders_keeps_nobody_out(hasty):
    crowd = [connect(hasty) for _ in range(CROWD)]
    for connection in crowd:
        connection.sendall(b"POST / HTTP/1.1\r\n")
    assert is_alive(hasty)
    assert eventually(lambda: len(hasty.server.server_state.connections) == 0)
    for connection in crowd:
        connection.close()


def test_a_client_that_does_not_read_is_let_go(hasty):
    asked = json.dumps(
        serving.ASKED | {"n": 16, "max_tokens": 90, "logprobs": True, "top_logprobs": 20, "stream": True}
    )
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        connection.connect(("127.0.0.1", hasty.port))
        connection.sendall(HEAD + f"Content-Length: {len(asked)}\r\n\r\n{asked}".encode())
        assert eventually(lambda: hasty.service.metrics.clients_gone == 1, 10)
        assert eventually(lambda: hasty.service.taken == 0)


def test_a_connection_too_many_is_refused(monkeypatch):
    monkeypatch.setattr(Connection, "max_connections", 2)
    with serving.serving() as server:
        crowd = [connect(server) for _ in range(2)]
        assert eventually(lambda: len(server.server.server_state.connections) == 2)
        with connect(server) as connection:
            assert rest_of(connection).startswith(b"HTTP/1.1 429")
        for each in crowd:
            each.close()
        assert eventually(lambda: len(server.server.server_state.connections) == 0)
        assert is_alive(server)


def test_a_port_that_is_in_use_is_said_to_be(server):
    with pytest.raises(UsageError, match=f"port {server.port} .* is in use. Choose another with --port"):
        listen("127.0.0.1", server.port)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.1", "\udcff"])
def test_an_address_of_another_machine_is_refused(host):
    with pytest.raises(UsageError, match="address of this machine"):
        listen(host, 0)


def test_small_pieces_are_sent_at_once():
    with listen("127.0.0.1", 0) as taken:
        assert taken.proto == socket.IPPROTO_TCP  # what asyncio asks before it switches off Nagle's delay


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_addresses_that_only_this_machine_reaches(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.example.org"])
def test_addresses_that_others_may_reach(host):
    assert not is_loopback(host)
