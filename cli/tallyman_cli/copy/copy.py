"""`tallyman copy`: copies images from any registry or layout to several others.

It uses neither typer nor rich, and start.py calls it directly: imports take most of the time of a small copy.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tallyman.domain.names import Location
from tallyman.domain.text import visible
from tallyman.errors import BadInput, BadName, TallymanError
from tallyman.ports.clocks import no_limit
from tallyman.services.copying.images import CopyImages
from tallyman_cli.copy import interrupt
from tallyman_cli.copy.address import Address, parse
from tallyman_cli.copy.docker_logins import DockerLogins
from tallyman_cli.copy.progress import Counting, shown
from tallyman_cli.copy.report import Done
from tallyman_cli.copy.transports import Large, Transports
from tallyman_cli.shared import output
from tallyman_cli.shared.chosen import chosen, read_files
from tallyman_cli.shared.examples import EXAMPLES

if TYPE_CHECKING:
    from tallyman.adapters.aws.clients import Clients
    from tallyman.domain.policy import Policy

DONE, NO, BAD = 0, 1, 2

SWITCH = 0.0005
"""Seconds for which a thread may hold Python's lock while others wait (`sys.setswitchinterval`). Most threads wait for
a registry and have little to do when it answers; the default of 5 ms is longer than a request."""

HELP = """Copy images by their digests: between ECR, other registries and OCI layouts, to several targets at once.

SOURCE and TARGET are ENVIRONMENT/REPOSITORY (an environment of the policy), HOST[:PORT]/REPOSITORY or oci:FOLDER,
followed by :TAG or @DIGEST. A target without a tag gets the tag of the source. All content is copied before any tag
is set. ECR is accessed with your AWS credentials, other registries with those that `docker login` stored."""

EXIT = "Exit status: 0 everything was copied or exists; 1 something could not be copied; 2 bad input."


class _Parser(argparse.ArgumentParser):
    """Keeps the error for `--json`, and fails if its help can't be written."""

    complaint = ""

    def print_help(self, file: Any = None) -> None:
        """Print the help. argparse's own method ignores a full disk."""
        (file or sys.stdout).write(self.format_help())

    def error(self, message: str) -> NoReturn:
        """Print usage and error on stderr, then exit with 2."""
        self.complaint = visible(message)
        super().error(self.complaint)


def parser() -> _Parser:
    """The command's arguments."""
    examples = "\n".join(f"    {line}" for line in EXAMPLES["copy"])
    made = _Parser(
        prog="tallyman copy",
        description=HELP,
        epilog=f"{EXIT}\n\nExamples:\n{examples}",
        formatter_class=_formatter,
    )
    made.add_argument("source", metavar="SOURCE", help="the image; with --all-tags, the repository")
    made.add_argument(
        "targets", metavar="TARGET", nargs="+", help="where to copy it; an environment means all its registries"
    )
    made.add_argument("--all-tags", action="store_true", help="copy every tagged image of the repository")
    made.add_argument(
        "--referrers",
        action="store_true",
        help="with --all-tags: also read the referrers of images that the target has",
    )
    made.add_argument("--keep-tags", action="store_true", help="never move an existing tag to another image")
    made.add_argument("--dry-run", action="store_true", help="only print what would be copied")
    made.add_argument(
        "--plain-http", metavar="HOST", action="append", default=[], help="use no TLS for this host; may be repeated"
    )
    made.add_argument(
        "--private-redirects", action="store_true", help="also follow a registry's redirects to private addresses"
    )
    made.add_argument("--parallel", type=_count, metavar="N", help="copy N blobs at once (default: found by measuring)")
    made.add_argument("--json", action="store_true", help="print JSON")
    made.add_argument(
        "--policy", type=Path, metavar="FILE", help="the policy with the environments (or TALLYMAN_POLICY)"
    )
    made.add_argument("--stack", metavar="NAME", help="the CloudFormation stack (or TALLYMAN_STACK)")
    made.set_defaults(clients=_own_clients)
    return made


def run(arguments: Sequence[str], **defaults: Any) -> int:
    """Copy. Return the exit status: 0 everything was copied, 1 something was not, 2 bad input.

    `defaults`: options by name, and `clients`, which makes the clients of AWS (default: with the person's own
    credentials)."""
    made = parser()
    made.set_defaults(**{k: v for k, v in defaults.items() if v is not None})
    try:
        options = made.parse_args(list(arguments))
    except SystemExit as end:
        if made.complaint and "--json" in arguments:
            _print({"error": made.complaint})
        return int(end.code or 0)
    sys.setswitchinterval(SWITCH)
    copying: _Copy | None = None
    try:
        read_files()
        copying = _Copy(options)
        return copying.run()
    except TallymanError as error:
        if options.json:
            _print({"error": str(error)})
        output.trouble(f"tallyman: {error}")
        return BAD if isinstance(error, BadInput) else NO
    except KeyboardInterrupt:
        output.trouble(interrupt.WORDS)
        interrupt.said.set()
        return interrupt.STATUS
    finally:
        if copying:
            copying.transports.close()


class _Copy:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.transports = Transports(
            DockerLogins(), options.clients, options.plain_http, private=options.private_redirects
        )
        self._policy: Policy | None = None

    def run(self) -> int:
        """Copy, and print the report. Return the exit status."""
        options = self.options
        source = parse(options.source, self.in_policy)
        targets = [parse(text, self.in_policy) for text in options.targets]
        origin = source.repositories[0]
        places = self._places(source, targets, origin)
        self.transports.expect([origin, *places])
        counting = Counting()
        service = CopyImages(
            self.transports.reads(origin),
            self.transports,
            no_limit,
            counting,
            options.keep_tags,
            options.parallel,
            parts=Large(self.transports),
        )
        began = time.monotonic()
        with shown(counting):
            if options.all_tags:
                from tallyman.services.copying.changes import changed

                found = changed(self.transports, service.source, origin, list(places), every=options.referrers)
                images, listed, failed, odd = found.images, found.listed, found.failed, found.odd
                reads = self.transports.reads(origin)  # by the list, which was made meanwhile
                service = replace(service, source=reads, empty=found.empty, seconds=found.seconds)
            else:
                assert source.reference is not None  # `_places` has checked it
                images = [service.resolve(origin, source.reference, None if source.digest else source.tag)]
                listed, failed, odd = 1, {}, {}
            do = service.plan if options.dry_run else service.copy
            reports = do(origin, places, images, failed)
        for report in reports.values():
            report.failed.update({name: BadName(why) for name, why in odd.items()})
        seconds = time.monotonic() - began
        done = Done(options, images, listed, reports, counting, seconds)
        if options.json:
            _print(done.document())
        else:
            done.show()
        return DONE if all(report.ok for report in reports.values()) else NO

    def _places(self, source: Address, targets: Sequence[Address], origin: Location) -> dict[Location, str | None]:
        """The target repositories, each with the tag to set there (None: each image's own). Raises BadInput."""
        if self.options.all_tags:
            if source.reference or any(target.reference for target in targets):
                raise BadInput("--all-tags copies a repository: leave out :TAG and @DIGEST")
        elif self.options.referrers:
            raise BadInput("--referrers needs --all-tags: an image that you name is always copied with its referrers")
        elif not source.reference:
            raise BadInput(f"'{source.text}' names a repository: give :TAG or @DIGEST, or --all-tags")
        places: dict[Location, str | None] = {}
        for target in targets:
            if target.digest:
                raise BadInput(f"'{target.text}': a target takes a tag or nothing: its digest is that of the source")
            for repository in target.repositories:
                if repository == origin and target.tag in (None, source.tag):
                    raise BadInput(f"'{target.text}' is the source itself")
                if places.setdefault(repository, target.tag) != target.tag:
                    raise BadInput(f"'{target.text}': {repository} is named twice, with different tags")
        return places

    def in_policy(self, text: str) -> Any:
        """Look up an address by the policy."""
        from tallyman_cli.shared import addresses

        if self._policy is None:
            self._policy = _policy(self.options)
        return addresses.anywhere(self._policy, text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 1 to 64")
    return int(text)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """A help as wide as the terminal. argparse would import shutil for that, even if no help is shown, which takes as
    long as a request."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (ValueError, OSError):
        columns = 80
    return argparse.RawDescriptionHelpFormatter(prog, width=columns - 2)


def _policy(options: argparse.Namespace) -> "Policy":
    """The policy of the named file, else the one in force in the stack."""
    from tallyman.adapters.files import policy_file

    file = chosen.policy_file(options.policy)
    if file and (policy := policy_file.load(file)).environments:
        return policy
    from tallyman_cli.shared import context

    return context.connect(options.stack, options.policy).policy


def _own_clients() -> "Clients":
    from tallyman_cli.shared.own_clients import OwnClients

    return OwnClients()


def _print(document: Any) -> None:
    output.put(output.as_json(document))
    sys.stdout.flush()
