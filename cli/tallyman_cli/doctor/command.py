"""`tallyman doctor`: checks a deployed stack, and says what to do where something is wrong."""

import sys
from dataclasses import asdict

import typer

from tallyman_cli.doctor.checks import findings
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Site, clients
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.chosen import chosen


@options.by_policy
def doctor(timeout: options.Timeout = 30) -> None:
    """Check a deployment. Each check passes, or says what to do.

    It checks that rules are enabled, dead-letter queues are empty, a test event from every registry arrives within
    --timeout, and the functions can read every registry; that repositories follow the policy and good practice, hold
    one application each and build on central base images; that CloudTrail is on, quotas suffice, releases can move the
    services, ECR replicates what the policy leaves to it, and EKS clusters can be read. It writes only what `reconcile`
    writes.

    Exit status: 0 every check passed, with or without warnings; 1 a check failed.
    """
    marks = {OK: "✓", WARN: "!", BAD: "✗", UNKNOWN: "?"}
    opened = context.connect()
    name = chosen.stack_name()
    found = []
    watched = sys.stderr.isatty() and not output.is_json()
    site = Site(opened, name, clients(), timeout, output.say if watched else lambda text: None)
    for finding in findings(site):
        found.append(finding)
        if not output.is_json():
            output.line(f"{marks[finding.verdict]} {finding.check}: {finding.found}")
            if finding.todo:
                output.line(f"    → {finding.todo}")
    if output.is_json():
        output.data([asdict(finding) for finding in found])
    if any(finding.verdict == BAD for finding in found):
        raise typer.Exit(1)
