"""`tallyman list`: environments, the repositories of one, the images of a repository."""

from typing import Annotated, Any

from tallyman_cli.shared import addresses, context, options, output
from tallyman_cli.shared.options import argument, option
from tallyman_cli.views import listing

What = Annotated[
    str | None,
    argument(
        "ENVIRONMENT|REPOSITORY",
        "An environment (dev) or a repository (dev/rocketseat/widget-server); without it, all environments.",
    ),
]


@options.by_policy
def list_(
    what: What = None,
    untagged: Annotated[
        bool, option("--untagged", "Include a repository's images without a tag: platforms, signatures.")
    ] = False,
) -> None:
    """List environments, the repositories of an environment, or the images of a repository, the newest push first.

    Counts of images and bytes are those of the last sweep; the images of a repository are read from its registry.

    Exit status: 0 listed; 1 there is no such repository; 2 there is no such environment.
    """
    opened = context.connect()
    if what is None:
        found, show, empty = listing.environments(opened), _environments, ""
    elif "/" not in what:
        found, show = listing.repositories(opened, what), _repositories
        empty = f"no repository of {what} is known: `tallyman reconcile` reads the registries"
    else:
        listed = listing.images(opened, addresses.repository(opened.policy, what).place)
        found, show = [row for row in listed if untagged or row["tags"]], _images
        empty = f"{what} holds no image with a tag"
    if output.is_json():
        output.data(found)
    elif found:
        show(found)
    else:
        output.line(empty)


def _environments(found: list[dict[str, Any]]) -> None:
    output.table(
        {
            "environment": row["environment"],
            "registries": " ".join(row["registries"]),
            "repositories": row["repositories"],
            **_counts(row),
            "released": row["released"],
            "waiting": row["waiting"],
            "frozen": row["frozen"],
        }
        for row in found
    )


def _repositories(found: list[dict[str, Any]]) -> None:
    nothing: dict[str, Any] = {"tags": [], "digest": None, "at": None}
    output.table(
        {
            "repository": row["repository"],
            **_counts(row),
            "runs": ", ".join(release["tags"]),
            "digest": release["digest"],
            "since": release["at"],
            "waiting": row["waiting"] or None,
        }
        for row in found
        for release in [row["release"] or nothing]
    )


def _counts(row: dict[str, Any]) -> dict[str, Any]:
    """The number of images and the sum of their sizes; None where no sweep has counted yet."""
    return {"images": row["images"], "stored": None if row["bytes"] is None else output.size(row["bytes"])}


def _images(found: list[dict[str, Any]]) -> None:
    output.table(
        {
            "tags": " ".join(row["tags"]),
            "digest": row["digest"],
            "size": output.size(row["size"]),
            "at": row["pushed_at"],
            "kind": "archived" if row["archived"] else "index" if row["index"] else "image",
        }
        for row in found
    )
