"""`make bench-copy`: `tallyman copy` against skopeo, and crane, regctl and oras where they are on the PATH.

    python bench/copying.py [--runs 5] [--only NAME] [--latency MILLISECONDS] [--json FILE]

Registries, sink and data are on this machine, in memory where it has a memory disk. Runs of the tools take turns, so
that noise meets all alike; the source is warm. Prints a table, and for scripts one line a workload:
`<workload> ratio <x>` (our median over that of the fastest peer that ran) or `<workload> requests <n>`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from copy_data import make
from copy_places import Ecr, Line, Registry, Sink

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 180.0
"""Seconds of one command."""
BUDGET = 8.5 * 60
"""Seconds after which no further round of runs begins: two are the least."""

REFERENCE = {  # crane on two other cores, November 2026; not measured here
    "10x150MB": "5.55 s, 16 MB, 2.15 s CPU (ours then, a prototype: 5.5 s)",
    "index-3x8x5MB": "0.65 s (-j 8)",
    "40-small": "1.14 s (--all-tags)",
}


@dataclass
class Ran:
    """One run: seconds of wall and processor, peak of memory in MB."""

    wall: float
    cpu: float
    peak: float
    requests: int | None = None
    read: int | None = None


@dataclass
class Workload:
    """`commands` by tool: what it runs, one after the other. `before`: run before each tool's turn."""

    name: str
    target: str
    commands: dict[str, list[list[str]]]
    before: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)
    counts: Callable[[], tuple[int, int]] | None = None
    requests_only: bool = False
    runs: list[tuple[str, Ran]] = field(default_factory=list)

    def of(self, tool: str) -> list[Ran]:
        """That tool's runs."""
        return [ran for name, ran in self.runs if name == tool]


def run(commands: Sequence[Sequence[str]], environment: dict[str, str]) -> Ran:
    """Runs them in turn. Raises SystemExit with its words where one fails."""
    wall = cpu = peak = 0.0
    for command in commands:
        with tempfile.TemporaryFile() as said:
            began = time.monotonic()
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said
            )
            pid, status, usage = 0, 0, None
            while not pid:
                peak = max(peak, _peak(process.pid))
                time.sleep(0.005)
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if time.monotonic() - began > LIMIT:
                    process.kill()
            wall += time.monotonic() - began
            process.returncode = os.waitstatus_to_exitcode(status)
            assert usage is not None
            cpu += usage.ru_utime + usage.ru_stime
            if process.returncode:
                said.seek(0)
                text = said.read().decode(errors="replace")[-1500:]
                raise SystemExit(f"{' '.join(command)}: status {process.returncode}\n{text}")
    return Ran(wall, cpu, peak)


def _peak(pid: int) -> float:
    """Megabytes that the process held at most until now. ru_maxrss would count what we held when it was begun."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except (OSError, ValueError):
        pass
    return 0.0


class Bench:
    """Everything that is started, and the workloads."""

    def __init__(self, folder: Path, latency: float) -> None:
        self.folder, self.latency = folder, latency
        self.tallyman = [sys.executable, "-m", "tallyman_cli.start", "copy"]
        self.peers = [tool for tool in ("skopeo", "crane", "regctl", "oras") if shutil.which(tool)]
        self.started: list[Any] = []
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("TALLYMAN_", "AWS_", "PYTHON"))},
            "HOME": str(folder),
            "DOCKER_CONFIG": str(folder / "ecr-docker" / "docker"),
            "PYTHONPATH": os.pathsep.join(str(ROOT / p) for p in ("layers/core/src", "cli", "local")),
            "PYTHON": sys.executable,
        }
        os.environ.update({k: self.environment[k] for k in ("PYTHONPATH", "PYTHON")})

    def __enter__(self) -> "Bench":
        print("making the data…", file=sys.stderr)
        make(self.folder / "data")
        self.source = self.start(Registry(self.folder, "source"))
        self.targets = [self.start(Registry(self.folder, f"target-{n}")) for n in (1, 2, 3)]
        (self.folder / "ecr-docker").mkdir()
        self.ecr = self.start(Ecr(self.folder / "ecr-docker"))
        self.ecr.docker_config()
        self.sinks = [] if self.latency else [self.start(Sink()) for _ in range(3)]
        self.source_host, self.hosts = self.source.host, [target.host for target in self.targets]
        if self.latency:
            lines = [self.start(Line(place.port, self.latency / 2)) for place in (self.source, *self.targets)]
            self.source_host, *self.hosts = [line.host for line in lines]
        print("filling the source…", file=sys.stderr)
        for name in ("index",) if self.latency else ("big", "index", "middle"):
            self.fill(f"oci:{self.folder}/data/{name}:v1", f"{self.source.host}/{name}:v1")
        for name in ("small",) if self.latency else ("small", "many"):
            self.fill("--all-tags", f"oci:{self.folder}/data/{name}", f"{self.source.host}/{name}")
        return self

    def __exit__(self, *_: object) -> None:
        for place in reversed(self.started):
            place.stop()

    def start(self, place: Any) -> Any:
        """Remembers what has to be ended."""
        self.started.append(place)
        return place

    def fill(self, *arguments: str, **environment: str) -> None:
        """A copy of ours that is not measured."""
        run([[*self.tallyman, *arguments]], self.environment | environment)

    def wipe(self) -> None:
        """Empty targets, logs read to their ends."""
        for target in self.targets:
            target.wipe()
        self.counts()

    def counts(self) -> tuple[int, int]:
        """Requests at source and targets, and bytes that the source gave."""
        requests, read = self.source.counts()
        return requests + sum(target.counts()[0] for target in self.targets), read

    def image(self, name: str, hosts: Sequence[str]) -> dict[str, list[list[str]]]:
        """One image, by each tool, to each of the hosts."""
        source = f"{self.source_host}/{name}:v1"
        to = [f"{host}/{name}:v1" for host in hosts]
        skopeo = ["skopeo", "copy", "--quiet", "--all", "--src-tls-verify=false", "--dest-tls-verify=false"]
        made = {
            "tallyman": [[*self.tallyman, source, *to]],
            "skopeo": [[*skopeo, f"docker://{source}", f"docker://{each}"] for each in to],
            "crane": [["crane", "copy", "--insecure", "-j", "8", source, each] for each in to],
            "regctl": [["regctl", "image", "copy", source, each] for each in to],
            "oras": [["oras", "cp", "--from-plain-http", "--to-plain-http", source, each] for each in to],
        }
        return {tool: made[tool] for tool in ("tallyman", *self.peers)}

    def repository(self, name: str, source: str, target: str) -> dict[str, list[list[str]]]:
        """A whole repository, by the tools that can."""
        sync = ["skopeo", "sync", "--src", "docker", "--dest", "docker", "--src-tls-verify=false"]
        made = {
            "tallyman": [[*self.tallyman, "--all-tags", f"{source}/{name}", f"{target}/{name}"]],
            "skopeo": [[*sync, "--dest-tls-verify=false", f"{source}/{name}", target]],
            "crane": [["crane", "copy", "--insecure", "-j", "8", "--all-tags", f"{source}/{name}", f"{target}/{name}"]],
        }
        return {tool: made[tool] for tool in made if tool == "tallyman" or tool in self.peers}

    def workloads(self) -> list[Workload]:
        """In the order in which they are run."""
        one, sinks = self.hosts[:1], [sink.host for sink in self.sinks]
        small = self.repository("small", self.source_host, one[0])
        made = [
            Workload("index-3x8x5MB", "≤ 1.0", self.image("index", one), self.wipe, counts=self.counts),
            Workload("40-small", "≤ 0.9", small, self.wipe, counts=self.counts),
            self.there(one),
            self.there_in_ecr(),
        ]
        if self.latency:
            made.append(Workload("three-targets", "≤ 0.65", self.image("small3", self.hosts), self.wipe))
            made[-1].commands = {
                tool: [[part.replace("small3", "index") for part in each] for each in commands]
                for tool, commands in made[-1].commands.items()
            }
            return made[:3] + made[4:]

        def forget() -> None:
            self.wipe()
            for sink in self.sinks:
                sink.forget()

        return [
            *made,
            self.many_in_ecr(),
            self.many(one[0]),
            Workload("three-targets", "≤ 0.65", self.image("middle", self.hosts), self.wipe, counts=self.counts),
            Workload("three-sinks", "≤ 0.65", self.image("middle", sinks), forget, counts=self.counts),
            Workload("10x150MB", "≤ 1.0", self.image("big", one), self.wipe, counts=self.counts),
            Workload("10x150MB-to-sink", "", self.image("big", sinks[:1]), forget, counts=self.counts),
        ]

    def there(self, hosts: Sequence[str]) -> Workload:
        """An image that is there already."""

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
        """The same between two registries of the local cloud."""
        dev, prod = (f"localhost:{self.ecr.ports[name]}" for name in ("dev", "prod"))
        commands = {
            tool: [[p.replace(self.source_host, dev).replace(self.hosts[0], prod) for p in c] for c in each]
            for tool, each in self.image("index", self.hosts[:1]).items()
        }
        filled: list[int] = []

        def before() -> None:
            if not filled:
                for name in (dev, prod):
                    self.fill(f"{self.source.host}/index:v1", f"{name}/index:v1", **self.ecr.environment)
                filled.append(1)
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
        """Requests at the target and the API of the local cloud since the last time."""
        now = int(self.ecr.ask({"do": "counts"})["requests"])
        before, self.asked = getattr(self, "asked", 0), now
        return now - before, 0

    def many(self, host: str) -> Workload:
        """1,000 images of which 950 are there, between docker-registries: no question is for many at once."""
        gone = [f"v{n}" for n in range(950, 1000)]
        filled: list[int] = []

        def before() -> None:
            if not filled:
                self.wipe()
                self.fill("--all-tags", f"{self.source.host}/many", f"{self.targets[0].host}/many")
                filled.append(1)
            self.targets[0].remove_tags("many", gone)
            self.counts()

        commands = self.repository("many", self.source_host, host)
        return Workload("1000-images-950-there-without-batches", "", commands, before, counts=self.counts)

    def many_in_ecr(self) -> Workload:
        """The same in the local cloud."""
        dev, prod = (f"localhost:{self.ecr.ports[name]}" for name in ("dev", "prod"))
        gone = [f"v{n}" for n in range(950, 1000)]
        filled: list[int] = []

        def before() -> None:
            if not filled:
                print("filling the local cloud…", file=sys.stderr)
                for name in (dev, prod):
                    self.fill("--all-tags", f"{self.source.host}/many", f"{name}/many", **self.ecr.environment)
                filled.append(1)
            self.ecr.ask({"do": "untag", "repository": "many", "tags": gone})
            self.ecr_counts()

        return Workload(
            "1000-images-950-there",
            "≤ 0.5",
            self.repository("many", dev, prod),
            before,
            environment=self.ecr.environment,
            counts=self.ecr_counts,
        )


def measure(bench: Bench, workload: Workload, runs: int, until: float) -> None:
    """Rounds of all tools in turn."""
    for number in range(runs):
        if number >= 2 and time.monotonic() > until:
            print(f"{workload.name}: {number} runs of {runs}: no time for more", file=sys.stderr)
            return
        for tool in list(workload.commands):
            workload.before()
            try:
                ran = run(workload.commands[tool], bench.environment | workload.environment)
            except SystemExit as error:
                if tool == "tallyman":
                    raise
                print(f"{tool} can't do {workload.name}: {error}", file=sys.stderr)
                del workload.commands[tool]
                continue
            if workload.counts:
                ran.requests, ran.read = workload.counts()
            workload.runs.append((tool, ran))


def show(workload: Workload) -> dict[str, Any]:
    """Prints its table and its line; the same as a document."""
    print(f"\n{workload.name}" + (f"  (to reach: {workload.target})" if workload.target else ""))
    print(f"  {'':9}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'requests':>10}{'read MB':>9}{'runs':>6}")
    document: dict[str, Any] = {"workload": workload.name, "tools": {}}
    for tool in workload.commands:
        ran = workload.of(tool)
        wall, cpu, peak = (median(getattr(r, key) for r in ran) for key in ("wall", "cpu", "peak"))
        requests = median(r.requests for r in ran if r.requests is not None) if workload.counts else None
        read = median(r.read for r in ran if r.read is not None) if workload.counts else None
        told = f"{requests:10.0f}{read / 1e6:9.1f}" if requests is not None and read is not None else f"{'':19}"
        print(f"  {tool:9}{wall:8.2f}{cpu:8.2f}{peak:9.0f}{told}{len(ran):6}")
        document["tools"][tool] = {"wall": wall, "cpu": cpu, "peak": peak, "requests": requests, "read": read}
    if "crane" not in workload.commands and workload.name in REFERENCE:
        print(f"  crane did not run here; on another machine it took: {REFERENCE[workload.name]}")
    ours = document["tools"]["tallyman"]
    peers = {tool: found["wall"] for tool, found in document["tools"].items() if tool != "tallyman"}
    if workload.requests_only:
        print(f"{workload.name} requests {ours['requests']:.0f}")
    elif peers:
        fastest = min(peers, key=lambda tool: peers[tool])
        document["ratio"], document["to"] = ours["wall"] / peers[fastest], fastest
        print(f"{workload.name} ratio {document['ratio']:.2f}")
    sys.stdout.flush()
    return document


def main() -> None:
    """All workloads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", help="the name of a workload")
    parser.add_argument("--latency", type=float, default=0.0, help="milliseconds of a round trip")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    options = parser.parse_args()
    for needed, package in (("docker-registry", "docker-registry"), ("skopeo", "skopeo")):
        if not shutil.which(needed):
            raise SystemExit(f"{needed} is not on the PATH (Debian: apt-get install {package})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing is left behind
    began = time.monotonic()
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 12e9
    with (
        tempfile.TemporaryDirectory(prefix="bench-copy-", dir=memory if roomy else None) as folder,
        Bench(Path(folder), options.latency) as bench,
    ):
        chosen = [w for w in bench.workloads() if not options.only or w.name in options.only]
        where = f"{os.cpu_count()} cores, {'memory disk' if roomy else 'disk'}"
        line = f", {options.latency:g} ms a round trip" if options.latency else ""
        print(f"peers: {', '.join(bench.peers)}; {where}{line}")
        documents = []
        for workload in chosen:
            measure(bench, workload, options.runs, began + BUDGET)
            documents.append(show(workload))
    if options.json:
        options.json.write_text(json.dumps(documents, indent=1))
    print(f"\n{time.monotonic() - began:.0f} s in all", file=sys.stderr)


if __name__ == "__main__":
    main()
