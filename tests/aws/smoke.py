"""Run Tallyman on a real test account and report the results: `make aws-smoke ACCOUNT=111111111111`.

Deploys a hub under its own name (unless --deployed names one), and its spoke in a second region of the account, or in
the account of --spoke-profile. Creates repositories, pushes an image, an index and a signature, and exercises
recording, verification, scan, promotion, a rollout to a Lambda function, a recall, a retention plan and a lost event.
Runs the doctor, answers the questions that docs/aws.md lists "to confirm", and removes everything it created, also
after a failure. Reports in smoke.json and smoke.md, account ids masked. Exit status: 0 every step passed, 1 a step
failed, 2 not started.

Uses only boto3 and the `tallyman` command, with your credentials; inside a local cloud it uses that cloud.
"""

import argparse
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from aws import questions
from aws.make import Skipped, remove_repositories
from aws.site import Place, Site
from aws.steps import Steps
from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

USD_A_PUSH, USD_AN_HOUR = 0.0004, 0.02
"""docs/operations.md, What it costs: a push that is promoted, and the stack by itself; both rounded up."""


@dataclass
class Step:
    """The result of one step. `outcome`: passed, failed or skipped."""

    name: str
    outcome: str
    seconds: float
    found: str


class Smoke:
    """One run: every step, then the clean-up, then the report."""

    def __init__(self, site: Site, signing_profile: str = "") -> None:
        self.site, self.steps = site, Steps(site, signing_profile)
        self.done: list[Step] = []
        self.begun = time.monotonic()

    def run(self) -> bool:
        """Run all steps and return whether all passed. The clean-up always runs."""
        self.site.remove_later("the repositories", lambda: remove_repositories(self.site))
        try:
            for name, step, needed in self.steps.all():
                if not self._step(name, step) and needed:
                    break
        finally:
            self._step("remove everything", self.site.remove)
            shutil.rmtree(self.site.folder, ignore_errors=True)
        return all(step.outcome != "failed" for step in self.done)

    def _step(self, name: str, step: Callable[[], str]) -> bool:
        begun = time.monotonic()
        try:
            outcome, found = "passed", step()
        except Skipped as why:
            outcome, found = "skipped", str(why)
        except Exception as error:  # a failed step does not stop the others
            outcome, found = "failed", f"{type(error).__name__}: {error}"
        self.done.append(Step(name, outcome, round(time.monotonic() - begun, 1), found))
        print(masked(f"{outcome:8} {name}: {found}"), flush=True)
        return outcome != "failed"

    def report(self, folder: Path) -> None:
        """Write smoke.json and smoke.md."""
        hours = (time.monotonic() - self.begun) / 3600
        cost = round(self.site.pushes * USD_A_PUSH + hours * USD_AN_HOUR, 4)
        confirmed = {q: self.steps.answers.get(q, questions.UNANSWERED) for q in questions.QUESTIONS}
        data = {
            "stack": self.site.stack,
            "registries": [str(self.site.hub), str(self.site.prod)],
            "passed": all(step.outcome != "failed" for step in self.done),
            "steps": [asdict(step) for step in self.done],
            "confirmed": confirmed,
            "pushes": self.site.pushes,
            "minutes": round(hours * 60, 1),
            "usd_estimated": cost,
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "smoke.json").write_text(masked(json.dumps(data, indent=2)) + "\n")
        rows = [f"| {s.name} | {s.outcome} | {s.seconds:g} | {_cell(s.found)} |" for s in self.done]
        lines = ["# Tallyman on AWS", "", f"From {self.site.hub} to {self.site.prod}.", ""]
        lines += ["| step | outcome | s | found |", "|---|---|---|---|", *rows]
        lines += [
            "",
            "## To confirm",
            "",
            *(f"- {question}: **{_cell(seen)}**" for question, seen in confirmed.items()),
        ]
        lines += ["", f"{data['minutes']} minutes, {self.site.pushes} pushes, about {cost} USD by list prices."]
        (folder / "smoke.md").write_text(masked("\n".join(lines)) + "\n")


def _cell(text: str) -> str:
    """Text for a table cell."""
    return " ".join(text.replace("|", "/").split())


def masked(text: str) -> str:
    """The text without account ids."""
    return re.sub(r"(?<!\d)\d{12}(?!\d)", "############", text)


class NotBegun(Exception):
    """The reason why nothing was done."""


def place(account: str, region: str, profile: str, option: str) -> tuple[Place, str]:
    """The account and identity of these credentials. Raises NotBegun if it is not the account that was named."""
    try:
        session = Session(profile_name=profile or None)
        found = session.client("sts", region_name=region).get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        raise NotBegun(f"who are you? {error}") from error
    if found["Account"] != account:
        raise NotBegun(f"the credentials belong to {found['Account']}, not to {account} ({option})")
    return Place(account, region, session), str(found["Arn"])


def begin(arguments: list[str]) -> tuple[Smoke, Path]:
    """Parse the arguments and check the identity of the credentials."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--account", required=True, help="the account that the credentials belong to")
    parser.add_argument("--region", default="", help="the hub's; else the one of your settings")
    parser.add_argument("--second-region", default="sa-east-1", help="production's")
    parser.add_argument("--spoke-account", default="", help="production's account, if it is another one")
    parser.add_argument("--spoke-profile", default="", help="the profile with credentials of that account")
    parser.add_argument("--signing-profile", default="", help="ARN: ECR signs with it meanwhile, and a push may not")
    parser.add_argument("--deployed", metavar="STACK", default="", help="a hub that is there: deploy and remove none")
    parser.add_argument("--id", default="", help="in all names; else one of its own (a deployed policy has to name it)")
    parser.add_argument("--patience", type=float, default=300, help="seconds that one thing is waited for")
    parser.add_argument("--report", type=Path, default=Path(), help="where smoke.json and smoke.md go")
    given = parser.parse_args(arguments)
    region = given.region or os.environ.get("AWS_REGION") or Session().region_name
    if not region:
        raise NotBegun("no region: --region, or AWS_REGION")
    if bool(given.spoke_account) != bool(given.spoke_profile):
        raise NotBegun("--spoke-account and --spoke-profile belong together")
    if given.id and not re.fullmatch(r"[a-z0-9]{1,12}", given.id):
        raise NotBegun("--id: at most 12 lower-case letters and digits")
    os.environ["AWS_REGION"] = os.environ["AWS_DEFAULT_REGION"] = region
    hub, caller = place(given.account, region, "", "--account")
    prod = Place(hub.account, given.second_region, hub.session)
    if given.spoke_account:
        prod, _ = place(given.spoke_account, given.second_region, given.spoke_profile, "--spoke-account")
    own = {"id": given.id} if given.id else {}
    site = Site(hub, prod, given.deployed, patience=given.patience, caller=caller, **own)
    return Smoke(site, given.signing_profile), given.report


def main(arguments: list[str]) -> int:
    """Prepare, run and report."""
    try:
        smoke, folder = begin(arguments)
    except NotBegun as why:
        print(f"smoke: {why}: nothing was done", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the clean-up runs then too
    try:
        return 0 if smoke.run() else 1
    finally:
        smoke.report(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
