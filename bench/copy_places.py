"""Sources and targets of copies: docker-registry, the local ECR, a sink that keeps no blobs, a proxy with delay."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

_ANSWERED = re.compile(r' HTTP/[12]\.[01]" \d+ (\S+)')


PLAIN, SECURED = "localhost", "127.0.0.2"
"""Hosts of this machine: the tools use no TLS for the first, and treat the second like any host."""


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Certificate:
    """A certificate for SECURED, signed by itself: `file`, also the CA to trust, and `key`."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key = folder / "tls.pem", folder / "tls.key"
        if not shutil.which("openssl"):
            raise SystemExit("openssl is not on the PATH (Debian: apt-get install openssl)")
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        words += ["-subj", "/CN=bench", "-addext", f"subjectAltName=IP:{SECURED}"]
        words += ["-out", str(self.file), "-keyout", str(self.key)]
        subprocess.run(["openssl", *words], check=True, capture_output=True)


class Process:
    """A process of its own beside the measured one."""

    process: subprocess.Popen[bytes]

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.wait()


class Server(Process):
    """A process that listens at `address:port`."""

    address: str
    port: int

    @property
    def host(self) -> str:
        """`address:port`."""
        return f"{self.address}:{self.port}"


class Registry(Server):
    """Debian's docker-registry over a folder. Its access log counts the requests and bytes of every tool."""

    def __init__(self, folder: Path, name: str, certificate: Certificate | None = None) -> None:
        self.storage, self.log = folder / name, folder / f"{name}.log"
        self.port, self.address = free_port(), SECURED if certificate else PLAIN
        tls = f", tls: {{certificate: {certificate.file}, key: {certificate.key}}}" if certificate else ""
        config = folder / f"{name}.yml"
        config.write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {self.storage}, maxthreads: 100}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "{SECURED if certificate else "127.0.0.1"}:{self.port}"{tls}}}\n'
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["docker-registry", "serve", str(config)], stdout=log, stderr=subprocess.STDOUT
            )
        wait_for(self.port, self.address)
        self._read = 0

    def wipe(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.storage / "docker", ignore_errors=True)

    def remove_tags(self, repository: str, names: list[str]) -> None:
        """Remove images: their tags and manifests, not the blobs."""
        base = self.storage / "docker/registry/v2/repositories" / repository / "_manifests"
        for name in names:
            link = base / "tags" / name / "current/link"
            digest = link.read_text().removeprefix("sha256:")
            shutil.rmtree(base / "revisions/sha256" / digest, ignore_errors=True)
            shutil.rmtree(base / "tags" / name)

    def counts(self) -> tuple[int, int]:
        """Requests, and bytes of answers, since the last call."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            raw = log.read()
        self._read += len(raw)
        requests = sent = 0
        for line in raw.decode(errors="replace").splitlines():
            if found := _ANSWERED.search(line):
                requests += 1
                size = found[1]
                sent += int(size) if size.isdecimal() else 0
        return requests, sent


class Ecr(Process):
    """The local ECR: two registries and the API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = Path(__file__).with_name("copy_ecr.py")
        self.process = subprocess.Popen(
            [sys.executable, str(program), str(folder / "ecr")],
            stdout=subprocess.PIPE,
            stdin=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.ports: dict[str, int] = ready["ports"]
        self.token: str = ready["token"]
        policy = folder / "policy.yaml"
        policy.write_text(
            "environments:\n"
            "  dev: {registries: [111111111111/us-east-2]}\n"
            "  prod: {registries: [222222222222/us-east-2]}\n"
        )
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ready['api']}",
            "AWS_ACCESS_KEY_ID": "111111111111",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-2",
            "TALLYMAN_POLICY": str(policy),
            "TALLYMAN_REGISTRY_DEV_1": f"localhost:{self.ports['dev']}",
            "TALLYMAN_REGISTRY_PROD_1": f"localhost:{self.ports['prod']}",
        }

    def ask(self, command: dict[str, Any]) -> Any:
        """Send a command as one line ({"do": "untag", …} or {"do": "counts"}). Return its answer, one line."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def docker_config(self) -> None:
        """Write what `docker login` would write."""
        folder = self.folder / "docker"
        folder.mkdir(exist_ok=True)
        auths = {f"localhost:{port}": {"auth": self.token} for port in self.ports.values()}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))


class Sink(Server):
    """A registry that accepts everything as fast as possible, and keeps only manifests."""

    def __init__(self) -> None:
        self.address, self.port = PLAIN, free_port()
        program = Path(__file__).with_name("copy_sink.py")
        self.process = subprocess.Popen([sys.executable, str(program), str(self.port)])
        wait_for(self.port)

    def forget(self) -> None:
        """Remove the manifests too."""
        with urlopen(f"http://{self.host}/forget", timeout=10) as answer:
            answer.read()


class Line(Server):
    """A TCP proxy to a registry with so many milliseconds of delay each way."""

    def __init__(self, to: Registry, milliseconds: float) -> None:
        self.port, self.address = free_port(), to.address
        program = Path(__file__).with_name("copy_line.py")
        words = [str(program), self.address, str(self.port), str(to.port), str(milliseconds)]
        self.process = subprocess.Popen([sys.executable, *words])
        wait_for(self.port, self.address)


def wait_for(port: int, address: str = PLAIN) -> None:
    """Wait until something listens there, at most about ten seconds."""
    for _ in range(200):
        with socket.socket() as found:
            if found.connect_ex((address, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")
