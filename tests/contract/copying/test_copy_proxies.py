"""`tallyman copy` between registries over TLS, and through the proxies that the environment names."""

import base64
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.images.builders import big_layer, image, index
from support.servers.copy_cli import copied, holds
from support.servers.oci import OciServer, oci_server
from support.servers.secured import ProxyServer, certify, proxying
from tallyman.adapters.http import client as wire
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.http.proxies import Proxy
from tallyman_cli.copy.copy import run

BUILT = index(image(big_layer(3_000_000), "a"), image("b", architecture="arm64"))
FROM, TO = "registry.test", "mirror.example:5443"

pytestmark = pytest.mark.usefixtures("home")


@dataclass
class Registries:
    """Two registries that only the proxy can reach, and one on this machine."""

    source: OciServer
    target: OciServer
    own: OciServer
    proxy: ProxyServer

    @property
    def tunnels(self) -> set[str]:
        """The targets of CONNECT requests."""
        return {target for method, target in self.proxy.asked if method == "CONNECT"}


@pytest.fixture
def registries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    context = certify(tmp_path, FROM, TO.partition(":")[0])
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    wire.tls.cache_clear()
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    with ExitStack() as stack:
        source, target = (stack.enter_context(oci_server(context)) for _ in range(2))
        own = stack.enter_context(oci_server())
        proxy = stack.enter_context(proxying({f"{FROM}:443": source.port, TO: target.port}))
        source.push("team/app", BUILT, "v1")
        monkeypatch.setenv("https_proxy", proxy.url)
        yield Registries(source, target, own, proxy)


def test_registries_with_tls_are_reached_through_the_proxy_and_those_of_this_machine_without(
    registries: Registries, capsys: pytest.CaptureFixture[str]
) -> None:
    done = copied(capsys, f"{FROM}/team/app:v1", f"{TO}/team/app", f"{registries.own.host}/team/app")
    assert [t["verdict"] for t in done["targets"]] == ["done"] * 2
    assert holds(registries.target, "team/app", BUILT, "v1")
    assert holds(registries.own, "team/app", BUILT, "v1")
    assert registries.tunnels == {f"{FROM}:443", TO}
    assert done["bytes_read"] == sum(map(len, BUILT.blobs.values()))


def test_a_proxy_gets_the_login_of_its_address(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registries.proxy.login = "Basic " + base64.b64encode(b"me@home:pass word").decode()
    monkeypatch.setenv("https_proxy", registries.proxy.url.replace("//", "//me%40home:pass%20word@"))
    copied(capsys, f"{FROM}/team/app:v1", f"{TO}/team/app")
    assert holds(registries.target, "team/app", BUILT, "v1")
    assert not [sent for sent in registries.source.authorizations + registries.target.authorizations if sent]


@pytest.mark.parametrize("status", [403, 407])
def test_a_refusing_proxy_is_named_and_contacted_once(
    registries: Registries, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    registries.proxy.refuse = status
    done = copied(capsys, f"{FROM}/team/app:v1", f"{TO}/team/app", status=1)
    assert f"the proxy 127.0.0.1:{registries.proxy.port} refuses the connection to {FROM}:443" in done["error"]
    assert str(status) in done["error"]
    assert len(registries.proxy.asked) == 1


def test_a_proxy_that_does_not_speak_http_is_reported(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"220 mail.example ESMTP\r\n")

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        done = copied(capsys, f"{FROM}/team/app:v1", f"{TO}/team/app", status=1)
        listener.shutdown(socket.SHUT_RDWR)
    assert f"no answer from {FROM}:443 through the proxy 127.0.0.1:" in done["error"]
    assert "not HTTP" in done["error"]


def test_hosts_in_no_proxy_are_contacted_directly(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("no_proxy", "example")
    done = copied(capsys, f"{FROM}/team/app:v1", f"{TO}/team/app", status=1)
    assert f"no answer from {TO}" in done["targets"][0]["error"]  # no resolver knows this name
    assert registries.tunnels == {f"{FROM}:443"}


def test_a_registry_without_tls_is_reached_by_the_http_proxy(
    registries: Registries, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registries.proxy.login = "Basic " + base64.b64encode(b"me:too").decode()
    for name in ("HTTP_PROXY", "https_proxy"):
        monkeypatch.setenv(name, registries.proxy.url.replace("//", "//me:too@"))
    registries.proxy.names = {**registries.proxy.names, "plain.test:80": registries.own.port}
    copied(capsys, "--plain-http", "plain.test", f"{FROM}/team/app:v1", "plain.test/team/app")
    assert holds(registries.own, "team/app", BUILT, "v1")
    assert ("GET", "http://plain.test/v2/team/app/manifests/v1") in registries.proxy.asked


@pytest.mark.parametrize(
    "address", ["socks5://me:secret@proxy:1080", "https://me:secret@proxy", "http://:8080", "http://a:b:c"]
)
def test_an_unusable_proxy_is_bad_input(
    registries: Registries, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("https_proxy", address)
    assert run([f"{FROM}/team/app:v1", f"{TO}/team/app"]) == 2
    said = capsys.readouterr().err
    assert "HTTPS_PROXY: " in said
    assert "expected http://HOST:PORT" in said
    assert "secret" not in said


def test_requests_to_ecr_use_the_proxy_too(registries: Registries, tmp_path: Path) -> None:
    registries.proxy.login = "Basic " + base64.b64encode(b"me:too").decode()
    way = {"https": Proxy("127.0.0.1", registries.proxy.port, registries.proxy.login)}
    http = HttpClient(ca_file=str(tmp_path / "ca.pem"), proxy=lambda scheme, host, port: way.get(scheme))
    path = "/v2/team/app/manifests/v1"
    answer = http.open("GET", f"https://{FROM}{path}", headers={}, what="read")
    assert answer.all(1_000_000) == BUILT.raw
    answer = http.open("GET", f"http://{registries.own.host}{path}", headers={}, what="read")
    assert answer.status == 404
    answer.close()
    assert registries.proxy.asked == [("CONNECT", f"{FROM}:443")]


def test_an_untrusted_certificate_is_reported(registries: Registries, capsys: pytest.CaptureFixture[str]) -> None:
    registries.proxy.names = {**registries.proxy.names, "other.test:443": registries.source.port}
    done = copied(capsys, "other.test/team/app:v1", f"{TO}/team/app", status=1)
    assert "other.test:443 has a certificate that this machine does not trust" in done["error"]
    assert "not valid for 'other.test'" in done["error"]
    assert len(registries.proxy.asked) == 1  # the same a moment later
    assert registries.source.requests == []
