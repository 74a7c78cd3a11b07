"""`tallyman recall`: blocks an image everywhere, permanently."""

from typing import Annotated, Any

import typer

from tallyman.domain.names import Digest
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.promotion.roll_back import RollBack
from tallyman_cli.shared import addresses, asking, context, naming, options, output
from tallyman_cli.shared.options import option

_RollBack = Annotated[bool, option("--roll-back", "Roll releases of this image back to the last good image.")]


@options.by_policy
def recall(
    image: options.Image,
    because: asking.Because,
    roll_back: _RollBack = False,
    no_wait: asking.NoWait = False,
    timeout: options.Timeout = 60,
) -> None:
    """Recall an image by its digest: every environment refuses it, and every index that contains it, from now on.

    Lists the releases that point to the image, and what runs it or is configured to (ECS, Lambda, EKS, Batch, and what
    Inspector sees in use). A recall can't be undone: after a mistake, build the image again.

    Name IMAGE by its digest. With a tag, the command recalls nothing, and tells you the digest.

    Exit status: 0 recalled (--no-wait: requested); 1 refused, or a release could not be rolled back; 2 bad input.
    """
    opened = context.connect()
    named = addresses.image(opened.policy, image)
    if named.digest is None:
        digest = naming.digest_of(opened, named)
        raise BadInput(f"a recall takes a digest and can't be undone: {image} is {image.rpartition(':')[0]}@{digest}")
    body = {"command": "recall", "digest": named.digest, "because": because}
    asked = asking.ask(opened, body, timeout=timeout, wait=not no_wait)
    found: dict[str, Any] = {"releases": [], "uses": [], "unread": {}}
    if asked.done:
        found = opened.reconcile({"repositories": [], "recalled": named.digest}).get("recalled") or found
    back = _roll_back(opened, found["releases"], because, timeout) if roll_back else []
    if output.is_json():
        impact = {"releases": found["releases"], "uses": found["uses"], "unread": found["unread"], "rolled_back": back}
        output.data({"image": image, "digest": named.digest, "because": because, **asked.as_json, **impact})
    elif asked.done:
        output.line(f"{image} is recalled: {because}")
        _show(found, back)
    asking.finish(asked)
    if any(each["refused"] for each in back):
        raise typer.Exit(1)


def _roll_back(
    opened: context.Stack, releases: list[dict[str, Any]], because: str, timeout: float
) -> list[dict[str, Any]]:
    """Roll each release back; one that fails does not stop the others. Return {environment, repository, digest, tags,
    refused} of each."""
    done = []
    for each in releases:
        environment, name = each["environment"], each["repository"]
        back = RollBack(opened, environment, name)
        digest: Digest | None = None
        tags: list[str] = []
        try:
            digest = back.target()
            tags = back.tags(digest)
            trouble = back.ask(digest, f"recalled: {because}", timeout=timeout).trouble
        except TallymanError as error:
            trouble = str(error)
        of = {"environment": environment, "repository": name, "digest": digest, "tags": tags}
        done.append({**of, "refused": trouble})
    return done


def _show(found: dict[str, Any], back: list[dict[str, Any]]) -> None:
    for each in found["releases"]:
        output.line(f"{each['environment']} releases it as {each['repository']} ({', '.join(each['tags'])})")
    for use in found["uses"]:
        does = "runs" if use.get("runs", True) else "is configured to run"  # an earlier stack names only what runs
        output.line(f"{use['kind']} {use['name']} in {use['where']} {does} {use['image']}")
    if not found["releases"] and not found["uses"]:
        output.line("no release points to it, and nothing is known to run it")
    for where, why in found["unread"].items():
        output.trouble(f"what runs in {where} could not be read: {why}")
    for each in back:
        now = f"not rolled back: {each['refused']}" if each["refused"] else f"runs {named(each)} again"
        output.line(f"{each['environment']}/{each['repository']} {now}")


def named(each: dict[str, Any]) -> str:
    """An image as its tags and its digest."""
    return f"{', '.join(each['tags'])} ({output.digest(each['digest'])})" if each["tags"] else str(each["digest"])
