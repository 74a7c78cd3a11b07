"""`tallyman copy` among the other commands. start.py goes past it, to copy.py, which parses the same arguments itself:
a test holds the two equal."""

from typing import Annotated

import typer

from tallyman_cli.copy.copy import run
from tallyman_cli.shared import options
from tallyman_cli.shared.chosen import chosen


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The image; with --all-tags the repository.")],
    targets: Annotated[list[str], typer.Argument(metavar="TARGET …", help="Where it is to be.")],
    all_tags: Annotated[bool, typer.Option("--all-tags", help="Every tagged image of the repository.")] = False,
    referrers: Annotated[
        bool, typer.Option("--referrers", help="With --all-tags: ask for those of images that are there too.")
    ] = False,
    keep_tags: Annotated[bool, typer.Option("--keep-tags", help="Never move a tag that names another image.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would travel.")] = False,
    plain_http: Annotated[
        list[str] | None, typer.Option("--plain-http", metavar="HOST", help="A host that speaks no TLS.")
    ] = None,
    private_redirects: Annotated[
        bool, typer.Option("--private-redirects", help="Follow redirects to private addresses too.")
    ] = False,
    parallel: Annotated[
        int | None, typer.Option("--parallel", metavar="N", help="Blobs at once.", show_default="by measuring")
    ] = None,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Copy images by their digests: between ECR, other registries and OCI layouts, to several targets at once.

    A place is ENVIRONMENT/REPOSITORY, HOST[:PORT]/REPOSITORY, or oci:FOLDER; an image has :TAG or @DIGEST after it.
    All content goes first, the tags last. Exit status: 0 everything is there, 1 something is not, 2 bad input.
    """
    flags = {
        "--all-tags": all_tags,
        "--referrers": referrers,
        "--keep-tags": keep_tags,
        "--dry-run": dry_run,
        "--private-redirects": private_redirects,
        "--json": as_json,
    }
    arguments = [flag for flag, wanted in flags.items() if wanted]
    arguments += [word for host in plain_http or () for word in ("--plain-http", host)]
    if parallel is not None:
        arguments += ["--parallel", str(parallel)]
    given = {"stack": stack or chosen.stack, "policy": policy or chosen.policy}
    status = run([*arguments, "--", source, *targets], **given)
    if status:
        raise typer.Exit(status)
