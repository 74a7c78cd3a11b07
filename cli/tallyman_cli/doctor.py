"""`tallyman doctor`: whether the stack is well, and what to do where it is not."""

import os
from dataclasses import asdict

import typer

from tallyman_cli import context, options, output
from tallyman_cli.checkup import BAD, OK, UNKNOWN, WARN, Checkup, clients

_MARKS = {OK: "✓", WARN: "!", BAD: "✗", UNKNOWN: "?"}


def doctor(as_json: options.AsJson = False, stack: options.Stack = None, policy: options.PolicyFile = None) -> None:
    """Check an account after it was deployed, and at any time: each with a tick, or with what to do.

    Rules are enabled, queues of dead letters empty, every registry can be read by the functions, events arrive from
    each, repositories are as the policy and good practice say, CloudTrail is on, quotas. Changes nothing but what a
    reconcile writes. Exit status: 0 all is well, or only warnings; 1 something failed.
    """
    opened = context.connect(stack, policy)
    name = stack or context.chosen.stack or os.environ.get("TALLYMAN_STACK") or context.DEFAULT_STACK
    found = []
    for finding in Checkup(opened, name, clients()).findings():
        found.append(finding)
        if not as_json:
            output.line(f"{_MARKS[finding.verdict]} {finding.check}: {finding.found}")
            if finding.todo:
                output.line(f"    → {finding.todo}")
    if as_json:
        output.data([asdict(finding) for finding in found])
    if any(finding.verdict == BAD for finding in found):
        raise typer.Exit(1)
