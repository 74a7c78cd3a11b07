"""All findings of an audit, for the command and the page."""

from collections.abc import Callable, Iterator

from tallyman.adapters.ecr.replication import EcrReplication
from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.errors import TallymanError
from tallyman_cli.audit import images
from tallyman_cli.audit.finding import Finding, unread
from tallyman_cli.audit.repositories import Repositories
from tallyman_cli.doctor.checks import trail
from tallyman_cli.doctor.content_checks import APPLICATIONS, BASES, Contents
from tallyman_cli.doctor.finding import BAD, UNKNOWN, WARN, Site, clients
from tallyman_cli.shared.context import Stack


def findings(opened: Stack, name: str, say: Callable[[str], None]) -> Iterator[Finding]:
    """Everything that an audit finds in the stack of that name. `say` takes remarks: what could not be judged, and what
    the policy allows but may not mean."""
    yield from images.findings(opened)
    aws = opened.clients()
    yield from Repositories(opened, EcrReplication(aws), EcrSettings(aws), say).findings()
    yield from _practice(opened, name, say)


def _practice(opened: Stack, name: str, say: Callable[[str], None]) -> Iterator[Finding]:
    """What `tallyman doctor` finds about good practice: one application a repository, central base images, a trail."""
    site = Site(opened, name, clients())
    contents = Contents(site)
    for title, check in (
        (APPLICATIONS, contents.applications),
        (BASES, contents.base_images),
        ("trail", lambda: trail(site)),
    ):
        try:
            for each in check():
                if each.verdict in (BAD, WARN):
                    why = "recommended practice for registries"
                    yield Finding("practice", each.found, title, None, why, each.todo or "see docs/commands.md")
                elif each.verdict == UNKNOWN:
                    say(f"{title}: {each.found}")
        except TallymanError as error:
            yield unread(title, title, error)
