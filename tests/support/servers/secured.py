"""TLS for test servers, and a proxy that reaches them by names that no resolver knows."""

import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from support.servers.serving import serving


def certify(folder: Path, *hosts: str) -> ssl.SSLContext:
    """A server's TLS context for these names and addresses; clients trust it by `ca.pem` in the folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
    now = datetime.now(UTC)
    numeric = [host for host in hosts if host[0].isdigit()]
    named = [x509.DNSName(host) for host in hosts if host not in numeric]
    addresses = [x509.IPAddress(ip_address(host)) for host in numeric]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([*named, *addresses]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "ca.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "both.pem").write_bytes(secret + certificate.public_bytes(encoding))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context


@dataclass
class ProxyServer:
    """`names`: the port on this machine of each host; `asked`: (method, target) of all; `login`: the required value of
    Proxy-Authorization; `refuse`: the status of every answer instead."""

    names: Mapping[str, int]
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    login: str | None = None
    refuse: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    proxy: ProxyServer
    protocol_version = "HTTP/1.1"

    def _refused(self) -> bool:
        self.proxy.asked.append((self.command, self.path))
        wrong = self.proxy.login is not None and self.headers.get("Proxy-Authorization") != self.proxy.login
        status = self.proxy.refuse or (407 if wrong else 0)
        if status:
            self.close_connection = True
            self.send_error(status)
        return bool(status)

    def do_CONNECT(self) -> None:
        if self._refused():
            return
        self.close_connection = True
        with ExitStack() as stack:
            behind = stack.enter_context(socket.create_connection(("127.0.0.1", self.proxy.names[self.path])))
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_pump, args=(behind, self.connection))
            back.start()
            _pump(self.connection, behind)
            back.join()

    def do_GET(self) -> None:
        if self._refused():
            return
        parts = urlsplit(self.path)
        host = parts.netloc if ":" in parts.netloc else f"{parts.netloc}:80"
        behind = HTTPConnection("127.0.0.1", self.proxy.names[host])
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        kept = {name: value for name, value in self.headers.items() if not name.lower().startswith("proxy-")}
        behind.request(self.command, f"{parts.path}?{parts.query}", body, kept)
        answer = behind.getresponse()
        content = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        behind.close()

    do_HEAD = do_POST = do_PUT = do_PATCH = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def proxying(names: Mapping[str, int]) -> Iterator[ProxyServer]:
    """A proxy on a free port of this machine until the block ends."""
    made = ProxyServer(names)
    with serving(type("Handler", (_Handler,), {"proxy": made})) as made.port:
        yield made
