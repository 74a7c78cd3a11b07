"""`tallyman audit`: compares what the environments hold with the policy and with good practice."""

import sys
from typing import Annotated

import typer

from tallyman.errors import TallymanError
from tallyman_cli.audit.finding import Finding
from tallyman_cli.audit.findings import findings
from tallyman_cli.audit.ledger import ledger
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.shared.options import option

Since = Annotated[
    str | None,
    option(
        "--since TIME",
        "Show only findings that began at this time or later (RFC 3339), or whose beginning is not known.",
        default="all",
    ),
]
Fix = Annotated[bool, option("--fix", "Set what creating the repository would have set; asks for confirmation.")]

app = typer.Typer(invoke_without_command=True)
app.command("ledger")(ledger)


@app.callback()
@options.by_policy
def audit(asked: typer.Context, since: Since = None, fix: Fix = False) -> None:
    """Find what differs from the policy and from good practice.

    Findings are stowaways, tags that differ between registries or environments, releases whose image is gone, settings
    of repositories, and principals other than promotions that can push. --fix sets what creating the repository would
    have set (immutable tags, scan on push, the repository policy) with your own credentials, after you confirm, and
    lists what is left.

    Exit status: 0 nothing was found, or everything was fixed; 1 something is left; 2 bad input.
    """
    if asked.invoked_subcommand is not None:
        return
    opened = context.connect()
    moment = options.moment(since)
    if moment is not None and moment > opened.clock():
        output.say(f"--since {since} is in the future: only findings whose beginning is not known are shown")
    found = [
        each
        for each in findings(opened, chosen.stack_name(), output.say)
        if moment is None or each.since is None or each.since >= moment
    ]
    if fix:
        found = _mend(found)
    if output.is_json():
        output.data({"findings": [each.as_json for each in found]})
    else:
        for each in found:
            at = f" since {output.when(each.since)}" if each.since else ""
            output.line(f"✗ {each.kind}: {each.what}")
            output.line(f"    {each.where}{at}: {each.why}")
            output.line(f"    → {each.todo}")
        if not found:
            output.say("nothing was found")
    if found:
        raise typer.Exit(1)


def _mend(found: list[Finding]) -> list[Finding]:
    """Set what can be set, after the person confirmed. Return the findings that are left."""
    wanted = [(each, each.mend) for each in found if each.mend is not None]
    if not wanted:
        output.say("--fix can't fix any of these")
        return found
    for each, _ in wanted:
        output.say(f"{each.where}: {each.what}")
    output.trouble(f"set these {len(wanted)} as the policy says? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return found
    left = [each for each in found if each.mend is None]
    for each, mend in wanted:
        try:
            mend()
            output.say(f"fixed: {each.where}: {each.kind}")
        except TallymanError as error:
            output.trouble(f"{each.where}: {each.kind}: {error}")
            left.append(each)
    return left
