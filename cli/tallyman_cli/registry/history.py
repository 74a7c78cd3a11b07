"""`tallyman history`: what happened to a tag, an image or a repository, newest first."""

from typing import Annotated, Any

from tallyman.domain.history.fold import Row
from tallyman.domain.names import Repository
from tallyman_cli.registry import lanes
from tallyman_cli.shared import context, naming, options, output, rows
from tallyman_cli.shared.options import argument, option

MOST_ROWS = 1_000_000_000
"""The largest `--limit`; DynamoDB takes no number of more than 31 bits."""


@options.by_policy
def history(
    image: Annotated[
        str,
        argument(
            "IMAGE|REPOSITORY",
            "An IMAGE (dev/rocketseat/widget-server:v1, …@DIGEST), a REPOSITORY (dev/rocketseat/widget-server, "
            "dev/rocketseat/*) or a full ECR address of either.",
        ),
    ],
    at: options.At = None,
    limit: Annotated[
        int | None, option("--limit N", "Show only the N newest rows.", default="all", min=1, max=MOST_ROWS)
    ] = None,
) -> None:
    """Show what happened, newest first: who pushed what, which tags moved, what was removed.

    --at shows only what had happened by that time; the first row shows what the tag pointed to then.

    Exit status: 0 shown, even if nothing is recorded yet; 1 there is no such repository.
    """
    moment = options.moment(at)
    opened = context.connect()
    now = opened.clock()
    options.note_future(moment, now)
    found: list[Row] = []
    asked = naming.repositories(opened, image)
    for named in asked:
        for place in named.repositories:
            if named.digest is not None:
                found += rows.of_digest(opened.ledger, place, named.digest, moment)
            elif named.tag is not None:
                found += rows.of_tag(opened.ledger, place, named.tag, moment)
            else:
                found += rows.of_repository(opened.ledger, place, moment, limit)
    shown = rows.newest(found, limit)
    if not shown:
        naming.must_exist(opened, [place for named in asked for place in named.repositories])
        output.say(f"nothing is recorded about {image}" + (f" until {at}" if at else ""))
    if output.is_json():
        output.data([as_data(row) for row in shown])
    elif shown:
        for line in lanes.picture(shown, min(moment or now, now), output.columns()):
            output.line(line)
        _table(shown)


def as_data(row: Row) -> dict[str, Any]:
    """A row of `history --json`."""
    return {
        "at": output.time(row.at),
        "seen": output.time(row.seen),
        "kind": str(row.kind),
        "registry": str(row.repository.registry),
        "repository": row.repository.name,
        "tag": row.tag,
        "digest": row.digest,
        "actor": row.actor,
        "via": str(row.via),
        "commit": row.commit,
    }


def _table(shown: list[Row]) -> None:
    registries = {row.repository.registry for row in shown}
    output.table(
        {
            "at": output.time(row.at),
            "kind": str(row.kind),
            "image": _image(row.repository, row.tag),
            "digest": row.digest,
            "registry": str(row.repository.registry) if len(registries) > 1 else None,
            "who": row.actor,
            "via": str(row.via),
            "commit": (row.commit or "")[:7],
        }
        for row in shown
    )


def _image(repository: Repository, tag: str | None) -> str:
    return f"{repository.name}:{tag}" if tag else repository.name
