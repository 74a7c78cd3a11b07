"""Runs a buildspec as CodeBuild documents it, on this machine: phases, variables, exit rules, artifacts.

Implemented from the AWS CodeBuild user guide, "Build specification reference" and "Build phase transitions": all
commands share one shell's directory and variables (version 0.2); a command that fails ends its phase, the `finally` of
the phase still runs; a failed install or pre_build ends the build, a failed build is followed by post_build unless it
says `on-failure: ABORT`; CODEBUILD_BUILD_SUCCEEDING is set; artifacts are the named files. Batches are left to the
caller.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PHASES = ("install", "pre_build", "build", "post_build")
KNOWN = {"version", "run-as", "env", "phases", "artifacts", "batch", "cache", "reports", "proxy"}


@dataclass
class Outcome:
    """The result of a build. `phases`: name → success, of those that ran; `exported`: the variables."""

    phases: dict[str, bool] = field(default_factory=dict)
    log: str = ""
    exported: dict[str, str] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> bool:
        """Whether all phases succeeded."""
        return all(self.phases.values())


def run(spec: Path, source: Path, variables: Mapping[str, str], work: Path) -> Outcome:
    """Run one build of `source`. `variables` win over the buildspec's; `work` receives the shell's state and the
    artifacts."""
    document: dict[str, Any] = yaml.safe_load(spec.read_text("utf-8"))
    assert document["version"] == 0.2, "the rules here are those of version 0.2"
    assert set(document) <= KNOWN, f"no buildspec has {set(document) - KNOWN}"
    env = document.get("env", {})
    state = Shell(work, source, {**{k: str(v) for k, v in env.get("variables", {}).items()}, **variables})
    outcome, going = Outcome(), True
    for name in PHASES:
        phase = document["phases"].get(name)
        if phase is None or not going:
            continue
        state.variables["CODEBUILD_BUILD_SUCCEEDING"] = str(int(outcome.succeeded))
        done = all(state.run(command) for command in phase["commands"])
        finished = all(state.run(command) for command in phase.get("finally", []))
        outcome.phases[name] = done and finished
        failed = not outcome.phases[name]
        if failed and (name in ("install", "pre_build") or phase.get("on-failure") == "ABORT"):
            going = phase.get("on-failure") == "CONTINUE"
    outcome.log = state.log
    outcome.exported = {name: state.value(name) for name in env.get("exported-variables", [])}
    if outcome.succeeded:
        for name in document.get("artifacts", {}).get("files", []):
            shutil.copy2(source / name, work / name)
            outcome.artifacts.append(name)
    return outcome


class Shell:
    """One bash for all commands: exports and the directory persist from one command to the next."""

    def __init__(self, work: Path, source: Path, variables: Mapping[str, str]) -> None:
        self._saved, self._where = work / "exported.sh", work / "where"
        self._where.write_text(str(source))
        self._saved.write_text("")
        self.variables, self.log = dict(variables), ""

    def run(self, command: str) -> bool:
        """Run a command; return whether it exited with 0."""
        script = (
            f'source {self._saved}; cd "$(cat {self._where})"\n{{\n{command}\n}}\nstatus=$?\n'
            f"export -p >{self._saved}; pwd >{self._where}; exit $status\n"
        )
        done = subprocess.run(
            ["bash", "-c", script], env=self.variables, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.log += f"$ {command}\n{done.stdout}{done.stderr}"
        return done.returncode == 0

    def value(self, name: str) -> str:
        """A variable's value after the commands; empty if it is not set."""
        script = f'source {self._saved}; printf %s "${{{name}:-}}"'
        done = subprocess.run(["bash", "-c", script], env=self.variables, capture_output=True, text=True, check=True)
        return done.stdout
