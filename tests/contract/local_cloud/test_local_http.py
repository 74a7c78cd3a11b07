"""The local servers answer only this machine: which Host headers and which web origins they accept."""

import http.client
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tallyman_local
from tallyman_local.ecr.registries import Registries
from tallyman_local.server.http import Listener, for_this_machine


@pytest.fixture
def listener() -> Iterator[Listener]:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "4")])
        return [b"done"]

    running = Listener(for_this_machine(app), threads=2)
    running.start()
    yield running
    running.stop()


def ask(port: int, path: str = "/", method: str = "POST", **headers: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in {"Content-Length": "2", **headers}.items():
            connection.putheader(name, value)
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:{port}", "127.0.0.1:{port}", "[::1]:{port}", "LOCALHOST", "a.b.localhost:{port}"]
)
def test_every_name_of_this_machine_is_accepted(listener: Listener, host: str) -> None:
    assert ask(listener.port, Host=host.format(port=listener.port)) == (200, "done")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.7", "",
             "localhost@evil.example", "0.0.0.0:{port}", "notlocalhost"]
)  # fmt: skip
def test_another_host_header_is_refused(listener: Listener, host: str) -> None:
    status, text = ask(listener.port, Host=host.format(port=listener.port))
    assert status in (400, 403), text
    assert "done" not in text


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost:{port}", "http://127.0.0.1", ""]
)
def test_another_origin_header_is_refused(listener: Listener, origin: str) -> None:
    named = {"Host": f"localhost:{listener.port}", "Origin": origin.format(port=listener.port)}
    assert ask(listener.port, **named)[0] == 403
    assert ask(listener.port, Host=named["Host"], Origin=f"http://localhost:{listener.port}") == (200, "done")


def test_the_local_ecrs_api_checks_the_host_and_its_registries_require_a_token() -> None:
    with Registries() as ecr:
        port = int(ecr.url.rpartition(":")[2])
        assert ask(port, Host="evil.example")[0] == 403
        assert ask(port, Host=f"localhost:{port}")[0] == 400
        port = int(ecr.address().rpartition(":")[2])
        for path in ("/v2/", "/v2/_catalog", "/v2/team/app/blobs/uploads/", "/_layers/1/2/3"):
            assert ask(port, path, Host="evil.example")[0] in (401, 403)


def test_servers_listen_only_on_the_loopback_interface(listener: Listener) -> None:
    """Another address of this machine is refused, and no other code of the local cloud opens a port."""
    with socket.socket() as probe:
        probe.settimeout(2)
        with pytest.raises(OSError):
            probe.connect(("127.0.0.2", listener.port))
    root = Path(tallyman_local.__file__).parent
    opens = {
        path.name
        for path in root.rglob("*.py")
        if re.search(r"cheroot|http\.server|socketserver|\.bind\(|run_simple|make_server", path.read_text("utf-8"))
    }
    assert opens == {"http.py"}


def test_the_connections_of_many_idle_clients_are_kept(listener: Listener) -> None:
    """As AWS keeps them. The server's default is ten, so that most calls of a cloud's workers connected anew."""
    clients = [http.client.HTTPConnection("127.0.0.1", listener.port, timeout=10) for _ in range(20)]
    try:
        for client in [*clients, *clients]:
            client.request("GET", "/")
            answer = client.getresponse()
            assert answer.read() == b"done"
            assert answer.getheader("Connection") != "close"
    finally:
        for client in clients:
            client.close()
