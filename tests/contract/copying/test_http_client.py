"""The HTTP client, with and without TLS, against slow, silent and disconnecting peers."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from support.servers.secured import certify
from tallyman.adapters.http import client as wire
from tallyman.adapters.http.client import PIECE, HttpClient
from tallyman.errors import Unreachable

Peer = Callable[[socket.socket], None]
Served = Callable[[Peer], AbstractContextManager[str]]


@pytest.fixture(params=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    """The address of a server that runs this function with its first connection."""
    context = certify(tmp_path, "127.0.0.1") if request.param == "https" else None
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    wire.tls.cache_clear()

    @contextmanager
    def server(peer: Peer) -> Iterator[str]:
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def run() -> None:
                connection, _ = listener.accept()
                with connection:
                    if context:
                        connection = context.wrap_socket(connection, server_side=True)
                    with connection:
                        peer(connection)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            yield f"{request.param}://127.0.0.1:{listener.getsockname()[1]}/"
            thread.join(10)
            assert not thread.is_alive()

    return server


def head_of(connection: socket.socket) -> bytes:
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    return found


def test_a_body_that_arrives_in_small_pieces_is_read_completely(served: Served) -> None:
    body = bytes(range(256)) * 5000  # more than one chunk

    def peer(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:7])
        for start in range(7, len(body), 100_003):
            connection.sendall(body[start : start + 100_003])
        head_of(connection)  # the next request: the connection was reused
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    client = HttpClient(read=10)
    with served(peer) as url:
        response = client.open("GET", url, headers={}, what="read")
        pieces = list(iter(response.read, b""))
        again = client.open("GET", url, headers={}, what="read again")
        client.close()
    assert b"".join(pieces) == body
    assert max(map(len, pieces)) <= PIECE
    assert again.status == 204


def test_a_silent_peer_causes_a_read_timeout(served: Served) -> None:
    over = threading.Event()

    def peer(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 70_000)
        over.wait(10)

    client = HttpClient(read=0.2)
    with served(peer) as url:
        response = client.open("GET", url, headers={}, what="read")
        got: list[bytes] = []
        with pytest.raises(TimeoutError):
            got.extend(iter(response.read, b""))
        response.close()
        over.set()
    assert b"".join(got) == b"x" * 70_000, "what came before the silence is not lost"


def test_a_peer_that_never_answers_is_unreachable(served: Served) -> None:
    over = threading.Event()

    def peer(connection: socket.socket) -> None:
        over.wait(10)

    client = HttpClient(read=0.2)
    with served(peer) as url:
        with pytest.raises(Unreachable, match=r"read: the connection broke \(.*timed out"):
            client.open("GET", url, headers={}, what="read")
        over.set()


def test_a_peer_that_stops_reading_causes_a_send_timeout(served: Served) -> None:
    over = threading.Event()

    def peer(connection: socket.socket) -> None:
        over.wait(10)

    client = HttpClient(read=10, send=0.2)
    pieces = (bytes(PIECE) for _ in range(64))  # more than any socket buffer holds
    with served(peer) as url:
        with pytest.raises(Unreachable, match=r"push: the connection broke \(.*timed out"):
            client.open("PUT", url, headers={"Content-Length": str(64 * PIECE)}, what="push", body=pieces)
        over.set()


def test_a_refusal_during_an_upload_is_its_answer(served: Served) -> None:
    def peer(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 20):
            pass

    client = HttpClient(read=10)
    with served(peer) as url:
        pieces = (bytes(PIECE) for _ in range(8))
        answer = client.open("PUT", url, headers={"Content-Length": str(8 * PIECE)}, what="push", body=pieces)
        status = answer.status
        answer.close()
    assert status == 413
