"""`tallyman find`: finds images by a CVE, a package, a commit, a digest, a tag or a person, and what runs them."""

from collections.abc import Sequence
from typing import Annotated

import typer

from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument
from tallyman_cli.views import places
from tallyman_cli.views.find import find as view
from tallyman_cli.views.ignored import words

_BECAUSE = 3
"""Reasons that a row of the table shows."""


@options.by_policy
def find(
    what: Annotated[
        str,
        argument(
            "WHAT",
            "A CVE (CVE-2026-1234), package (openssl), commit or digest (six digits or more), tag (v1.*), person.",
        ),
    ],
) -> None:
    """Find images by CVE, package, commit, digest, tag or person: running ones first, then released ones.

    A CVE or a package is looked up in the newest scan of each image; a person in pushes, approvals, denials, overrides,
    recalls and rollbacks. What runs is read from every source of usage.

    Exit status: 0 found; 1 nothing found.
    """
    opened = context.connect()
    found = view(opened, what, say=output.say)
    if output.is_json():
        output.data(found)
    elif not found["images"]:
        output.line(f"nothing that is recorded matches '{found['query']}'")
        known = (places.canonical(opened.policy, place) for place in places.sweeps(opened))
        if named := sorted(f"{env}/{name}" for env, name in known if env and found["query"] in name):
            output.line(f"find does not search the names of repositories: tallyman list {named[0]}")
    else:
        output.table(
            {
                "image": f"{row['repository']}:{row['tags'][0]}" if row["tags"] else row["repository"],
                "digest": row["digest"],
                "environment": row["environment"] or "gone",
                "released": "yes" if row["released"] else "",
                "runs": ", ".join(f"{use['kind']} {use['name']}" for use in row["running"]),
                "why": "; ".join(
                    ["; ".join(row["because"][:_BECAUSE]) + _more(row["because"])]
                    + [words(each) for each in row["ignored_by_vex"][:_BECAUSE]]
                )
                + _more(row["ignored_by_vex"]),
            }
            for row in found["images"]
        )
    for each in found["unread"]:
        output.say(f"{each['source']} in {each['where']} could not be read: {each['error']}")
    if not found["images"]:
        raise typer.Exit(1)


def _more(reasons: Sequence[object]) -> str:
    return f" and {len(reasons) - _BECAUSE} more" if len(reasons) > _BECAUSE else ""
