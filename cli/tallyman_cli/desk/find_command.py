"""`tallyman find`: where a CVE, a package, a commit, a digest, a tag or a person's work is, and what runs it."""

from typing import Annotated

import typer

from tallyman_cli.shared import context, options, output
from tallyman_cli.views.find import find as view

_BECAUSE = 3
"""Reasons that a row of the table names."""


def find(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="CVE-2026-1234, openssl, a commit or a digest (six digits or more), a tag (v1.*), a person.",
            show_default=False,
        ),
    ],
    as_json: options.AsJson = False,
    stack: options.Stack = None,
    policy: options.PolicyFile = None,
) -> None:
    """Find the images that have to do with something: what runs comes first, then what is released.

    A CVE or a package is found in the newest scan of each image, a person by pushes, approvals, denials, overrides,
    recalls and roll-backs. Every source of usage is asked what runs. Exit status: 0 found, 1 nothing.
    """
    opened = context.connect(stack, policy)
    found = view(opened, what, say=output.say)
    if as_json:
        output.data(found)
    elif not found["images"]:
        output.line(f"nothing that is recorded has to do with '{found['query']}'")
    else:
        output.table(
            ("image", "digest", "environment", "released", "runs", "why"),
            [
                (
                    f"{row['repository']}:{row['tags'][0]}" if row["tags"] else row["repository"] or "",
                    output.digest(row["digest"]),
                    row["environment"] or "none any more",
                    "yes" if row["released"] else "",
                    ", ".join(f"{use['kind']} {use['name']}" for use in row["running"]),
                    "; ".join(row["because"][:_BECAUSE])
                    + (f" and {len(row['because']) - _BECAUSE} more" if len(row["because"]) > _BECAUSE else ""),
                )
                for row in found["images"]
            ],
        )
    for each in found["unread"]:
        output.say(f"{each['source']} in {each['where']} could not be read for what runs there: {each['error']}")
    if not found["images"]:
        raise typer.Exit(1)
