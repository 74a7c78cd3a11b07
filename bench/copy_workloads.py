"""The workloads: what is copied, from where to where, and what the target has already."""

import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from copy_data import make
from copy_places import Certificate, Ecr, Line, Registry, Sink
from copy_runs import Workload, run
from copy_tools import TALLYMAN, Commands, image, prepare, repository

ROOT = Path(__file__).resolve().parents[1]


class Bench:
    """All processes, started and stopped as a context, and the workloads."""

    def __init__(self, folder: Path, latency: float, tls: bool) -> None:
        self.folder, self.latency, self.tls = folder, latency, tls
        self.started: list[Any] = []
        self.asked = 0
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TALLYMAN_", "AWS_", "PYTHON"))},
            "HOME": str(folder),
            "REGCTL_CONFIG": str(folder / "regctl.json"),
            "DOCKER_CONFIG": str(folder / "ecr-docker" / "docker"),
            "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("layers/core/src", "cli", "local")),
        }
        os.environ["PYTHONPATH"] = self.environment["PYTHONPATH"]

    def __enter__(self) -> "Bench":
        try:
            self.begin()
        except BaseException:  # stop what was started already
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for place in reversed(self.started):
            place.stop()

    def begin(self) -> None:
        """Start all processes, and fill the source."""
        print("making the data…", file=sys.stderr)
        make(self.folder / "data")
        certificate = Certificate(self.folder) if self.tls else None
        if certificate:
            self.environment["SSL_CERT_FILE"] = str(certificate.file)
        names = ("source", "target-1", "target-2", "target-3")
        self.source, *self.targets = (self.start(Registry(self.folder, name, certificate)) for name in names)
        (self.folder / "ecr-docker").mkdir()
        self.ecr = self.start(Ecr(self.folder / "ecr-docker"))
        self.ecr.docker_config()
        self.sinks = [] if self.latency or self.tls else [self.start(Sink()) for _ in range(3)]
        self.source_host, self.hosts = self.source.host, [target.host for target in self.targets]
        if self.latency:
            lines = [self.start(Line(place, self.latency / 2)) for place in (self.source, *self.targets)]
            self.source_host, *self.hosts = [line.host for line in lines]
        self.dev, self.prod = (f"localhost:{self.ecr.ports[name]}" for name in ("dev", "prod"))
        known = [self.source_host, *self.hosts, self.dev, self.prod, *(sink.host for sink in self.sinks)]
        prepare(known, self.environment, self.tls)
        print("filling the source…", file=sys.stderr)
        for name in ("index",) if self.latency else ("big", "index", "middle"):
            self.fill(f"oci:{self.folder}/data/{name}:v1", f"{self.source.host}/{name}:v1")
        for name in ("small",) if self.latency or self.tls else ("small", "many"):
            self.fill("--all-tags", f"oci:{self.folder}/data/{name}", f"{self.source.host}/{name}")

    def start(self, place: Any) -> Any:
        """Remember a process, to be stopped at the end."""
        self.started.append(place)
        return place

    def fill(self, *arguments: str, **environment: str) -> None:
        """Copy with `tallyman copy`, without measuring."""
        run([[*TALLYMAN, *arguments]], self.environment | environment)

    def wipe(self) -> None:
        """Empty the targets, and skip what is in the logs."""
        for target in self.targets:
            target.wipe()
        self.counts()

    def counts(self) -> tuple[int, int]:
        """Requests to source and targets, and bytes read from the source, since the last call."""
        requests, read = self.source.counts()
        return requests + sum(target.counts()[0] for target in self.targets), read

    def image(self, name: str, hosts: Sequence[str]) -> Commands:
        """The commands for one image of the source, to each of the hosts."""
        return image(f"{self.source_host}/{name}:v1", [f"{host}/{name}:v1" for host in hosts], self.tls)

    def workloads(self) -> list[Workload]:
        """The workloads in their order."""
        one, sinks = self.hosts[:1], [sink.host for sink in self.sinks]
        small = repository("small", self.source_host, one[0], self.tls)
        made = [
            Workload("index-3x8x5MB", "≤ 1.0", self.image("index", one), self.wipe, counts=self.counts),
            Workload("40-small", "≤ 0.9", small, self.wipe, counts=self.counts),
            self.there(one),
        ]
        if self.latency:
            return [*made, Workload("three-targets", "≤ 0.65", self.image("index", self.hosts), self.wipe)]
        three = Workload("three-targets", "≤ 0.65", self.image("middle", self.hosts), self.wipe, counts=self.counts)
        large = Workload("10x150MB", "≤ 1.0", self.image("big", one), self.wipe, counts=self.counts)
        if self.tls:
            return [*made, three, large]

        def forget() -> None:
            self.wipe()
            for sink in self.sinks:
                sink.forget()

        return [
            *made,
            self.there_in_ecr(),
            self.many_in_ecr(),
            self.many(one[0]),
            three,
            Workload("three-sinks", "≤ 0.65", self.image("middle", sinks), forget, counts=self.counts),
            large,
            Workload("10x150MB-to-sink", "", self.image("big", sinks[:1]), forget, counts=self.counts),
        ]

    def there(self, hosts: Sequence[str]) -> Workload:
        """An image that the target has already."""

        def before() -> None:
            self.wipe()
            self.fill(f"{self.source.host}/index:v1", f"{self.targets[0].host}/index:v1")
            self.counts()

        def counts() -> tuple[int, int]:
            _, read = self.source.counts()
            return self.targets[0].counts()[0], read

        return Workload(
            "already-there", "≤ 3 requests", self.image("index", hosts), before, counts=counts, requests_only=True
        )

    def there_in_ecr(self) -> Workload:
        """An image that the target has already, between two registries of the local ECR."""
        commands = image(f"{self.dev}/index:v1", [f"{self.prod}/index:v1"])

        @cache
        def fill() -> None:
            for host in (self.dev, self.prod):
                self.fill(f"{self.source.host}/index:v1", f"{host}/index:v1", **self.ecr.environment)

        def before() -> None:
            fill()
            self.ecr_counts()

        return Workload(
            "already-there-ecr",
            "≤ 3 requests",
            commands,
            before,
            environment=self.ecr.environment,
            counts=self.ecr_counts,
            requests_only=True,
        )

    def ecr_counts(self) -> tuple[int, int]:
        """Requests to the local ECR's target and API since the last call."""
        now = int(self.ecr.ask({"do": "counts"})["requests"])
        before, self.asked = self.asked, now
        return now - before, 0

    def many(self, host: str) -> Workload:
        """1,000 images of which the target has 950, between docker-registries, which have no batch calls."""
        gone = [f"v{n}" for n in range(950, 1000)]

        @cache
        def fill() -> None:
            self.wipe()
            self.fill("--all-tags", f"{self.source.host}/many", f"{self.targets[0].host}/many")

        def before() -> None:
            fill()
            self.targets[0].remove_tags("many", gone)
            self.counts()

        commands = repository("many", self.source_host, host)
        return Workload("1000-images-950-there-without-batches", "", commands, before, counts=self.counts)

    def many_in_ecr(self) -> Workload:
        """1,000 images of which the target has 950, in the local ECR."""
        gone = [f"v{n}" for n in range(950, 1000)]

        @cache
        def fill() -> None:
            print("filling the local cloud…", file=sys.stderr)
            for host in (self.dev, self.prod):
                self.fill("--all-tags", f"{self.source.host}/many", f"{host}/many", **self.ecr.environment)

        def before() -> None:
            fill()
            self.ecr.ask({"do": "untag", "repository": "many", "tags": gone})
            self.ecr_counts()

        return Workload(
            "1000-images-950-there",
            "≤ 0.5",
            repository("many", self.dev, self.prod),
            before,
            environment=self.ecr.environment,
            counts=self.ecr_counts,
        )
