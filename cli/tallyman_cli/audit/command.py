"""`tallyman audit`: what is in an environment and how, against the policy and good practice."""

import sys
from collections.abc import Iterator
from typing import Annotated, cast

import typer

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.ecr.replication import EcrReplication
from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.errors import TallymanError
from tallyman_cli.audit.finding import Finding, unread
from tallyman_cli.audit.images import Images
from tallyman_cli.audit.repositories import Repositories
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.chosen import chosen

Since = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        help="What began at or after this moment, RFC 3339; what nobody knows the beginning of is always told.",
        show_default="all",
    ),
]
Fix = Annotated[bool, typer.Option("--fix", help="Set what creation would have set; asks before.")]


def audit(
    since: Since = None,
    fix: Fix = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Find what is not as it should be: stowaways, tags that differ between registries or environments, releases whose
    image is gone, repositories that differ from the policy, who can push around us, good practice that is not kept.

    --fix sets what creation would have set (fixed tags, scanning, the repository policy) with your own credentials,
    after it asked, and says what it left. Exit status: 0 nothing was found, or all of it mended; 1 something is left;
    2 bad input.
    """
    moment = options.moment(since)
    opened = context.connect(stack, policy)
    found = [each for each in _findings(opened, stack) if moment is None or each.since is None or each.since >= moment]
    if fix:
        found = _mend(found)
    if as_json:
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


def _findings(opened: context.Stack, stack: str | None) -> Iterator[Finding]:
    yield from Images(opened).findings()
    if opened.clients is not None:
        clients = cast(Clients, opened.clients())  # the adapters take the whole class, commands a protocol of it
        yield from Repositories(opened, EcrReplication(clients), EcrSettings(clients)).findings()
    yield from _practice(opened, chosen.stack_name(stack))


def _practice(opened: context.Stack, name: str) -> Iterator[Finding]:
    """What `tallyman doctor` says of good practice: one application a repository, central base images, a trail."""
    # Not above: botocore comes along.
    from tallyman_cli.doctor.checks import Checkup
    from tallyman_cli.doctor.content_checks import Contents
    from tallyman_cli.doctor.finding import BAD, UNKNOWN, WARN, Site, clients

    site = Site(opened, name, clients())
    contents = Contents(site)
    for title, check in (
        ("applications", contents.applications),
        ("base images", contents.base_images),
        ("trail", Checkup(site).trail),
    ):
        try:
            for each in check():
                if each.verdict in (BAD, WARN):
                    why = "good practice for registries asks for it"
                    yield Finding("practice", each.found, title, None, why, each.todo or "see docs/commands.md")
                elif each.verdict == UNKNOWN:
                    output.say(f"{title}: {each.found}")
        except TallymanError as error:
            yield unread(title, title, error)


def _mend(found: list[Finding]) -> list[Finding]:
    """What is left: what can't be mended, failed, or was not wanted."""
    wanted = [each for each in found if each.mend is not None]
    if not wanted:
        output.say("nothing of this can be mended from here")
        return found
    for each in wanted:
        output.say(f"{each.where}: {each.what}")
    output.trouble(f"set these {len(wanted)} as the policy says? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        return found
    left = [each for each in found if each.mend is None]
    for each in wanted:
        assert each.mend is not None  # of those that are wanted
        try:
            each.mend()
            output.say(f"mended: {each.where}: {each.kind}")
        except TallymanError as error:
            output.trouble(f"{each.where}: {each.kind}: {error}")
            left.append(each)
    return left
