"""The accounts of a run, the resources that it creates there, and their removal, also after a failure."""

import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aws import images
from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

ROOT = Path(__file__).resolve().parents[2]
_GONE = ("NotFound", "does not exist", "NoSuch", "NonExistent", "Not Found")


@dataclass
class Place:
    """An account and region with a session that has its credentials."""

    account: str
    region: str
    session: Session

    def client(self, service: str) -> Any:
        make: Any = self.session.client  # boto3's overloads take only literal service names
        return make(service, region_name=self.region)

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


@dataclass
class Site:
    """One run. `hub`: the place of dev and the stack; `prod`: the second region, in the hub's account or another one.

    `deployed`: the stack existed before and stays. All names that a run creates contain `id`. `removals` run from
    last to first; each is registered before its resource is created.
    """

    hub: Place
    prod: Place
    stack: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(3))
    patience: float = 300
    caller: str = ""
    removals: list[tuple[str, Callable[[], object]]] = field(default_factory=list)
    pushes: int = 0

    def __post_init__(self) -> None:
        self.deployed = bool(self.stack)
        self.stack = self.stack or f"tallyman-smoke-{self.id}"
        self.name = f"tallyman-smoke-{self.id}"
        self.prefix = f"rocketseat/smoke-{self.id}"
        self.app, self.recalled = f"{self.prefix}/app", f"{self.prefix}/recalled"
        self.folder = Path(tempfile.mkdtemp(prefix="tallyman-smoke-"))

    def tallyman(self, *arguments: str, may_fail: bool = False) -> Any:
        """Run a command and return its JSON. Raises RuntimeError with its output if it fails."""
        command = [sys.executable, "-m", "tallyman_cli.start", "--stack", self.stack, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
        if (done.returncode and not may_fail) or not done.stdout:
            raise RuntimeError(f"tallyman {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        found = json.loads(done.stdout)
        if isinstance(found, dict) and set(found) == {"error"}:  # no answer, whatever fails
            raise RuntimeError(f"tallyman {' '.join(arguments)}: {found['error']}")
        return found

    def until(self, what: str, true: Callable[[], Any], seconds: float = 0) -> Any:
        """Poll `true` until its result is truthy and return it; RuntimeError after the timeout."""
        end = time.monotonic() + (seconds or self.patience)
        while True:
            if found := true():
                return found
            if time.monotonic() > end:
                raise RuntimeError(f"{what}: not within {seconds or self.patience:g} s")
            time.sleep(1)

    def base(self, name: str, place: Place | None = None) -> tuple[str, str]:
        """(Address of a repository in the registry's API, token)."""
        ecr = (place or self.hub).client("ecr")
        uri = ecr.describe_repositories(repositoryNames=[name])["repositories"][0]["repositoryUri"]
        host, _, path = uri.partition("/")
        scheme = "http" if host.startswith("localhost") else "https"
        token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
        return f"{scheme}://{host}/v2/{path}", str(token)

    def push(self, name: str, pushed: images.Image, tag: str = "", *children: images.Image) -> None:
        """Push to dev. Raises RuntimeError if the registry refuses it."""
        status = images.push(*self.base(name), pushed, tag, *children)
        if status not in (200, 201):
            raise RuntimeError(f"push of {name}:{tag or pushed.digest}: {status}")
        self.pushes += 1

    def history(self, name: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.tallyman("history", f"dev/{name}")
        return rows

    def remove_later(self, what: str, act: Callable[[], object]) -> None:
        """Register a removal before the creation, so that partly created resources are removed too."""
        self.removals.append((what, act))

    def remove(self) -> str:
        """Run all removals, newest first; one that fails does not stop the others. RuntimeError names what remains."""
        problems = []
        while self.removals:
            what, act = self.removals.pop()
            try:
                act()
            except (ClientError, BotoCoreError, OSError, RuntimeError) as error:
                if not any(word in str(error) for word in _GONE):
                    problems.append(f"{what}: {error}")
        if problems:
            raise RuntimeError("; ".join(problems))
        return "nothing is left"
