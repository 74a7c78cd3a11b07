"""`tallyman doctor`: whether the stack is well, and what to do where it is not."""

import sys
from dataclasses import asdict

import typer

from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.chosen import chosen


def doctor(
    timeout: options.Timeout = 30,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Check a deployment: each check passes, or says what to do.

    Rules are enabled, queues of dead letters empty, a test event arrives from every registry within --timeout, every
    registry can be read by the functions, repositories are as the policy and good practice say, one for each
    application, on central base images; CloudTrail is on, quotas. Changes nothing but what a reconcile writes.
    Exit status: 0 all is well, or only warnings; 1 something failed.
    """
    # Not above: botocore comes along, and no other command waits for it to start.
    from tallyman_cli.doctor.checks import Doctor
    from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Site, clients

    marks = {OK: "✓", WARN: "!", BAD: "✗", UNKNOWN: "?"}
    opened = context.connect(stack, policy)
    name = chosen.stack_name(stack)
    found = []
    watched = sys.stderr.isatty() and not as_json
    site = Site(opened, name, clients(), timeout, output.say if watched else lambda text: None)
    for finding in Doctor(site).findings():
        found.append(finding)
        if not as_json:
            output.line(f"{marks[finding.verdict]} {finding.check}: {finding.found}")
            if finding.todo:
                output.line(f"    → {finding.todo}")
    if as_json:
        output.data([asdict(finding) for finding in found])
    if any(finding.verdict == BAD for finding in found):
        raise typer.Exit(1)
