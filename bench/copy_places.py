"""Where is copied from and to: docker-registry, the local cloud's ECR, a sink that keeps nothing, a line with delay."""

import json
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

_LINE = 65536
_ANSWERED = re.compile(r' HTTP/[12]\.[01]" \d+ (\S+)')


PLAIN, SECURED = "localhost", "127.0.0.2"
"""Hosts of this machine: the tools speak no TLS to the one, and take the other for any host."""


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Certificate:
    """For SECURED: `file` and `key`. Who trusts it, trusts the file."""

    def __init__(self, folder: Path) -> None:
        self.file, self.key = folder / "tls.pem", folder / "tls.key"
        if not shutil.which("openssl"):
            raise SystemExit("openssl is not on the PATH (Debian: apt-get install openssl)")
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        words += ["-subj", "/CN=bench", "-addext", f"subjectAltName=IP:{SECURED}"]
        words += ["-out", str(self.file), "-keyout", str(self.key)]
        subprocess.run(["openssl", *words], check=True, capture_output=True)


class Registry:
    """Debian's docker-registry over a folder, with its access log: that counts requests and bytes for everybody."""

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

    @property
    def host(self) -> str:
        """As clients write it."""
        return f"{self.address}:{self.port}"

    def wipe(self) -> None:
        """As new."""
        shutil.rmtree(self.storage / "docker", ignore_errors=True)

    def remove_tags(self, repository: str, names: list[str]) -> None:
        """Forgets images: their tags and manifests, not the blobs."""
        base = self.storage / "docker/registry/v2/repositories" / repository / "_manifests"
        for name in names:
            link = base / "tags" / name / "current/link"
            digest = link.read_text().removeprefix("sha256:")
            shutil.rmtree(base / "revisions/sha256" / digest, ignore_errors=True)
            shutil.rmtree(base / "tags" / name)

    def counts(self) -> tuple[int, int]:
        """Requests, and bytes of answers, since the last time."""
        with self.log.open("rb") as log:
            log.seek(self._read)
            raw = log.read()
        self._read += len(raw)
        requests = sent = 0
        for line in raw.decode(errors="replace").splitlines():
            if found := _ANSWERED.search(line):
                requests += 1
                size = found[1]
                sent += int(size) if size.isdigit() else 0
        return requests, sent

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait()


class Ecr:
    """The local cloud's ECR, in a process of its own: two registries and the API."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = Path(__file__).with_name("copy_ecr.py")
        self.process = subprocess.Popen(
            [os.environ.get("PYTHON", "python3"), str(program), str(folder / "ecr")],
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
        """One line there, one line back: {"do": "untag", …} or {"do": "counts"}."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def docker_config(self) -> None:
        """What `docker login` would have written."""
        folder = self.folder / "docker"
        folder.mkdir(exist_ok=True)
        auths = {f"localhost:{port}": {"auth": self.token} for port in self.ports.values()}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait()


class Sink:
    """A registry that takes everything as fast as can be, in a process of its own, and keeps manifests only."""

    def __init__(self) -> None:
        self.port = free_port()
        program = Path(__file__).with_name("copy_sink.py")
        self.process = subprocess.Popen([os.environ.get("PYTHON", "python3"), str(program), str(self.port)])
        wait_for(self.port)

    @property
    def host(self) -> str:
        """As clients write it."""
        return f"localhost:{self.port}"

    def forget(self) -> None:
        """The manifests too."""
        with urlopen(f"http://{self.host}/forget", timeout=10) as answer:
            answer.read()

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait()


class Line:
    """A TCP line to a registry with so many milliseconds of delay each way, in a process of its own."""

    def __init__(self, to: Registry, milliseconds: float) -> None:
        self.port, self.address = free_port(), to.address
        program = Path(__file__).with_name("copy_line.py")
        words = [str(program), self.address, str(self.port), str(to.port), str(milliseconds)]
        self.process = subprocess.Popen([os.environ.get("PYTHON", "python3"), *words])
        wait_for(self.port, self.address)

    @property
    def host(self) -> str:
        """As clients write it."""
        return f"{self.address}:{self.port}"

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait()


def wait_for(port: int, address: str = PLAIN) -> None:
    """Until somebody listens."""
    for _ in range(200):
        with socket.socket() as found:
            if found.connect_ex((address, port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")
