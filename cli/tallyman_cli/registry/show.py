"""`tallyman show`: what an image is, where it is, and what is recorded about it."""

from typing import Any

from tallyman.adapters.files.prices import load as load_prices
from tallyman_cli.registry.verify import show_checks
from tallyman_cli.shared import addresses, context, naming, options, output
from tallyman_cli.views import contents
from tallyman_cli.views.shown import ImageView, costs


@options.by_policy
def show(image: options.Image, prices: options.PriceFile = None) -> None:
    """Show an image: platforms and compressed sizes, tags, where it is, what that costs, verification, promotions.

    Manifests are read from the registry, or from the archive and the ledger if the registry can't be read.

    Exit status: 0 shown; 1 there is no such image.
    """
    opened = context.connect()
    named = addresses.image(opened.policy, image)
    inside = contents.load(opened, named.place, naming.digest_of(opened, named), configs=False)
    found = ImageView(opened, image, inside).as_data()
    found["costs"] = costs(load_prices(prices), found)
    if output.is_json():
        output.data(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    output.line(f"{found['image']}  {output.digest(found['digest'])}")
    verified, scan = found["verified"], found["scan"]
    output.pairs([
        ("media type", found["media_type"]),
        ("size", f"{output.size(found['size'])} compressed"),
        ("tags", ", ".join(found["tags"]) or "none"),
        *_built(found["built"]),
        ("verified", _when(verified["verdict"] or "not yet", verified["at"])),
        ("scan", _when(_scan(scan), scan["at"])),
        *(("recalled", _recall(each, found["digest"])) for each in found["recalls"]),
    ])  # fmt: skip
    if found["platforms"]:
        output.line()
        output.table(
            {"platform": _platform(p), "size": output.size(p["size"]), "digest": p["digest"]}
            for p in found["platforms"]
        )
    if found["locations"]:
        output.line()
        output.table(
            {
                "registry": where["registry"],
                "environment": where["environment"],
                "repository": where["repository"],
                "tags": ", ".join(where["tags"]),
                "USD a month": _cost(found, where["registry"]),
            }
            for where in found["locations"]
        )
    if found["promotions"]:
        output.line()
        output.table(
            {
                "to": promotion["to"],
                "verdict": promotion["verdict"],
                "tags": ", ".join(promotion["tags"]),
                "at": promotion["at"],
                "why": f"{promotion['gate']}: {promotion['reason']}" if promotion["gate"] else None,
            }
            for promotion in found["promotions"]
        )
    bad = [c for c in verified["checks"] if c["verdict"] != "passed"]
    if bad:
        output.line()
        show_checks(bad)


def _built(built: dict[str, Any]) -> list[tuple[str, str]]:
    """What the image says about its build; the words say that nobody has verified it."""
    said = [("built from, it says", " ".join(filter(None, (built["commit"], built["source"]))))]
    said.append(("author, it says", built["author"] or ""))
    for each in built["builds"]:
        by = f" for {each['person']}" if each.get("person") else ""
        said.append(("build, it says", f"{each.get('url') or each['id']}{by}"))
    return [(name, text) for name, text in said if text]


def _recall(recall: dict[str, Any], shown: str) -> str:
    beneath = "" if recall["digest"] == shown else f"{output.digest(recall['digest'])} beneath it, "
    return f"{beneath}by {recall['by']}, {output.when(recall['at'])}: {recall['because']}"


def _cost(found: dict[str, Any], registry: str) -> str:
    """The cost in that registry, as if the image shared no layer with others."""
    return next((f"{c['usd_per_month']:.4f}" for c in found["costs"] if c["registry"] == registry), "")


def _platform(platform: dict[str, Any]) -> str:
    return "/".join(part for part in (platform["os"], platform["architecture"], platform["variant"]) if part)


def _when(what: str, at: str | None) -> str:
    return f"{what}, {output.when(at)}" if at else what


def _scan(scan: dict[str, Any]) -> str:
    if scan["status"] is None:
        return "none yet"
    counts = ", ".join(f"{number} {severity}" for severity, number in scan["counts"].items() if number)
    return f"{scan['status'].replace('_', ' ')}: {counts or 'no findings'}"
