"""`tallyman tag`: the tags of a build."""

from pathlib import Path
from typing import Annotated

import typer

from tallyman.domain.names import parse_repository_name
from tallyman_cli.build.checkout import read
from tallyman_cli.build.tagging import suggest
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument, option

app = typer.Typer(help="Suggest the tags of a build.", no_args_is_help=True)


@app.command("suggest")
@options.by_policy
def suggest_tags(
    path: Annotated[Path, argument("PATH", "The folder to build.")] = Path(),
    repository: Annotated[
        str | None, option("--repository NAME", "Apply the policy's rules for this repository.")
    ] = None,
) -> None:
    """Print the tags that a build of this commit gets, one a line.

    These are the version with the commit (v1.4.0-3f2a91c), the version alone if the commit has that Git tag, and branch
    tags that the policy lets move. Without --repository no policy is read.

    Exit status: 0 shown; 2 no tag is allowed.
    """
    checkout = read(path)
    rule = None
    if repository is not None:
        rule = context.rules().repository(parse_repository_name(repository))
    found = suggest(checkout, rule)
    for doubt in checkout.doubts:
        output.trouble(f"the version is in doubt: {doubt}")
    for each in found.left_out:
        output.say(f"left out: {each}")
    if output.is_json():
        output.data({
            "commit": checkout.commit, "version": found.version, "tags": list(found.tags),
            "left_out": list(found.left_out), "branch": checkout.branch, "doubts": list(checkout.doubts),
        })  # fmt: skip
        return
    for tag in found.tags:
        output.line(tag)
