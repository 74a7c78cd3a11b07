"""What needs somebody's work: dead letters, findings of an audit, checks that only read."""

from collections import Counter
from dataclasses import asdict
from typing import Any

from tallyman_cli.audit.findings import findings
from tallyman_cli.doctor.checks import read_only
from tallyman_cli.doctor.finding import Site, clients
from tallyman_cli.letters import reading
from tallyman_cli.shared.context import Stack


def letters(stack: Stack) -> dict[str, Any]:
    """`{letters: [what `letters show --json` prints], notes}`, the oldest first. Reading hides letters from others for
    up to a minute, and takes about two seconds: an empty queue answers after one."""
    notes: list[str] = []
    found = reading.letters(stack, say=notes.append)
    return {"letters": [{**reading.as_json(each), "body": each.body} for each in found], "notes": notes}


def audit(stack: Stack, name: str) -> dict[str, Any]:
    """`{findings, notes, kinds}`: what `audit --json` prints, its remarks, and the number of findings of each kind.
    Cost: a listing of every registry, and some calls for each repository."""
    notes: list[str] = []
    found = [each.as_json for each in findings(stack, name, notes.append)]
    return {"findings": found, "notes": notes, "kinds": dict(Counter(each["kind"] for each in found))}


def checks(stack: Stack, name: str) -> dict[str, Any]:
    """`{checks: [{check, verdict, found, todo}]}`: those of `doctor` that only read, quotas among them."""
    return {"checks": [asdict(each) for each in read_only(Site(stack, name, clients()))]}
