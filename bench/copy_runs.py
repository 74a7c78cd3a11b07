"""Run the commands of tools in turn, and measure time, memory and requests."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from copy_tools import UNCHECKED, Commands

LIMIT = 180.0
"""Seconds that one command may take."""

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
    """What is measured. `commands`: those that each tool runs, one after the other. `before`: called before each turn
    of a tool. `counts`: requests and bytes read since its last call. `target`: the goal, as text."""

    name: str
    target: str
    commands: Commands
    before: Callable[[], None]
    environment: dict[str, str] = field(default_factory=dict)
    counts: Callable[[], tuple[int, int]] | None = None
    requests_only: bool = False
    runs: list[tuple[str, Ran]] = field(default_factory=list)

    def of(self, tool: str) -> list[Ran]:
        """The runs of one tool."""
        return [ran for name, ran in self.runs if name == tool]


def run(commands: Sequence[Sequence[str]], environment: dict[str, str]) -> Ran:
    """Run the commands one after the other. Raises SystemExit, with its output, where one fails."""
    wall = cpu = peak = 0.0
    for command in commands:
        with tempfile.TemporaryFile() as errors:
            began = time.monotonic()
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
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
                errors.seek(0)
                text = errors.read().decode(errors="replace")[-1500:]
                raise SystemExit(f"{' '.join(command)}: status {process.returncode}\n{text}")
    return Ran(wall, cpu, peak)


def _peak(pid: int) -> float:
    """The peak of the process's memory until now, in MB. ru_maxrss would include our own memory at its start."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except (OSError, ValueError):
        pass
    return 0.0


def measure(workload: Workload, runs: int, until: float, environment: Mapping[str, str]) -> None:
    """Run all tools in turn, `runs` rounds. After `until` (of the monotonic clock) only the first two rounds begin."""
    for number in range(runs):
        if number >= 2 and time.monotonic() > until:
            print(f"{workload.name}: {number} of {runs} runs: the time is over", file=sys.stderr)
            return
        for tool in list(workload.commands):
            workload.before()
            try:
                ran = run(workload.commands[tool], {**environment, **workload.environment})
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
    """Print a workload's table and its line. Return the same figures."""
    print(f"\n{workload.name}" + (f"  (goal: {workload.target})" if workload.target else ""))
    print(f"  {'':9}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}{'requests':>10}{'read MB':>9}{'runs':>6}")
    document: dict[str, Any] = {"workload": workload.name, "tools": {}}
    for tool in workload.commands:
        ran = workload.of(tool)
        wall, cpu, peak = (median(getattr(r, key) for r in ran) for key in ("wall", "cpu", "peak"))
        requests = median(r.requests for r in ran if r.requests is not None) if workload.counts else None
        read = median(r.read for r in ran if r.read is not None) if workload.counts else None
        counted = f"{requests:10.0f}{read / 1e6:9.1f}" if requests is not None and read is not None else f"{'':19}"
        print(f"  {tool:9}{wall:8.2f}{cpu:8.2f}{peak:9.0f}{counted}{len(ran):6}")
        document["tools"][tool] = {"wall": wall, "cpu": cpu, "peak": peak, "requests": requests, "read": read}
    if "crane" not in workload.commands and workload.name in REFERENCE:
        print(f"  crane did not run here; on another machine it took: {REFERENCE[workload.name]}")
    ours = document["tools"]["tallyman"]
    others = {tool: found["wall"] for tool, found in document["tools"].items() if tool != "tallyman"}
    peers = {tool: wall for tool, wall in others.items() if tool not in (*UNCHECKED, "before")}
    if workload.requests_only:
        print(f"{workload.name} requests {ours['requests']:.0f}")
    elif peers:
        fastest = min(peers, key=lambda tool: peers[tool])
        document["ratio"], document["to"] = ours["wall"] / peers[fastest], fastest
        less = [f"{tool}, unchecked: {ours['wall'] / others[tool]:.2f}" for tool in UNCHECKED if tool in others]
        less += [f"before: {ours['wall'] / others['before']:.2f}"] if "before" in others else []
        print(f"{workload.name} ratio {document['ratio']:.2f}  (to {', '.join([fastest, *less])})")
    sys.stdout.flush()
    return document
