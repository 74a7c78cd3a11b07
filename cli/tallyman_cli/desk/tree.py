"""`tallyman tree`: an image as a tree of index, platforms, attestations and referrers."""

from collections.abc import Iterator
from typing import Any

from tallyman.errors import NotFound
from tallyman_cli.shared import addresses, context, naming, options, output
from tallyman_cli.views import contents
from tallyman_cli.views.image import graph
from tallyman_cli.views.shown import ImageView


@options.by_policy
def tree(image: options.Image) -> None:
    """Show what an image consists of: index, platforms, attestations, and the referrers of each (signatures, SBOMs).

    Manifests are read from the registry, or else from the archive.

    Exit status: 0 shown; 1 there is no such image.
    """
    opened = context.connect()
    named = addresses.image(opened.policy, image)
    digest = naming.digest_of(opened, named)
    inside = contents.load(opened, named.place, digest, configs=False)
    if inside.root is None:
        raise NotFound(f"{image}: {inside.missing.get(digest) or 'there is no such image'}")
    found = graph(ImageView(opened, image, inside))
    if output.is_json():
        output.data(found)
        return
    for line in _lines(found, "", ""):
        output.line(line)


def _lines(node: dict[str, Any], first: str, rest: str) -> Iterator[str]:
    size = f"  {output.size(node['size'])}" if node.get("size") is not None else ""
    kind = node["platform"] or (node["artifact_type"] if node["kind"] not in ("index", "image", "attestation") else "")
    missing = f"  missing: {node['missing']}" if node.get("missing") else ""
    yield f"{first}{node['kind']}{f' {kind}' if kind else ''}  {output.digest(node['digest'])}{size}{missing}"
    below = [*node.get("children", ()), *({"platform": None, **each} for each in node.get("referrers", ()))]
    for number, each in enumerate(below, 1):
        last = number == len(below)
        yield from _lines(each, f"{rest}{'└─ ' if last else '├─ '}", f"{rest}{'   ' if last else '│  '}")
