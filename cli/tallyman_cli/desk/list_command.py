"""`tallyman list`: environments, the repositories of one, the images of a repository."""

from typing import Annotated, Any

import typer

from tallyman_cli.shared import addresses, context, options, output
from tallyman_cli.views import listing

What = Annotated[
    str | None,
    typer.Argument(
        metavar="[ENVIRONMENT|REPOSITORY]",
        help="An environment (dev), or a repository of one (dev/rocketseat/widget-server); without it, environments.",
        show_default=False,
    ),
]


def list_(
    what: What = None,
    untagged: Annotated[
        bool, typer.Option("--untagged", help="Include a repository's images without a tag: platforms, signatures.")
    ] = False,
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """List environments, the repositories of an environment, or the images of a repository, the newest push first.

    Counts of images and bytes are those of the last sweep; the images of a repository are read from its registry.
    Exit status: 0 listed, 1 there is no such repository, 2 there is no such environment.
    """
    opened = context.connect(stack, policy)
    if what is None:
        _environments(listing.environments(opened))
    elif "/" not in what:
        _repositories(what, listing.repositories(opened, what))
    else:
        named = addresses.anywhere(opened.policy, what)
        found = listing.images(opened, named.place)
        _images(what, [row for row in found if untagged or row["tags"]])


def _environments(found: list[dict[str, Any]]) -> None:
    if output.is_json():
        output.data(found)
        return
    output.table(
        ("environment", "registries", "repositories", "images", "stored", "released", "waiting", "frozen"),
        [
            (
                row["environment"],
                " ".join(row["registries"]),
                str(row["repositories"]),
                "" if row["images"] is None else str(row["images"]),
                "" if row["bytes"] is None else output.size(row["bytes"]),
                str(row["released"]),
                str(row["waiting"]),
                row["frozen"] or "",
            )
            for row in found
        ],
    )


def _repositories(environment: str, found: list[dict[str, Any]]) -> None:
    if output.is_json():
        output.data(found)
    elif not found:
        output.line(f"no repository of {environment} is known: `tallyman reconcile` reads the registries")
    else:
        output.table(
            ("repository", "images", "stored", "runs", "digest", "since", "waiting"),
            [
                (
                    row["repository"],
                    "" if row["images"] is None else str(row["images"]),
                    "" if row["bytes"] is None else output.size(row["bytes"]),
                    ", ".join(row["release"]["tags"]) if row["release"] else "",
                    output.digest(row["release"]["digest"]) if row["release"] else "",
                    row["release"]["at"] if row["release"] else "",
                    str(row["waiting"] or ""),
                )
                for row in found
            ],
        )


def _images(what: str, found: list[dict[str, Any]]) -> None:
    if output.is_json():
        output.data(found)
    elif not found:
        output.line(f"{what} holds no image with a tag")
    else:
        output.table(
            ("tags", "digest", "size", "at", "kind"),
            [
                (
                    " ".join(row["tags"]),
                    output.digest(row["digest"]),
                    output.size(row["size"]),
                    row["pushed_at"],
                    "archived" if row["archived"] else "index" if row["index"] else "image",
                )
                for row in found
            ],
        )
