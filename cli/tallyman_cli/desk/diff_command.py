"""`tallyman diff`: two images compared."""

from typing import Annotated, Any

import typer

from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument
from tallyman_cli.views.diff import Side
from tallyman_cli.views.diff import diff as view

Before = Annotated[str, argument("A", f"The first image: {options.IMAGE_HELP}")]
After = Annotated[str, argument("B", "The second image, of any repository.")]


@options.by_policy
def diff(a: Before, b: After) -> None:
    """Compare two images: platforms, layers, packages (from SBOMs), configuration and labels, findings, size.

    Exit status: 0 they are the same image; 1 they differ.
    """
    opened = context.connect()
    found = view(opened, Side.named(opened, a), Side.named(opened, b))
    if output.is_json():
        output.data(found)
    else:
        _show(found)
    if not found["same"]:
        raise typer.Exit(1)


def _show(found: dict[str, Any]) -> None:
    for sign, side in (("-", found["a"]), ("+", found["b"])):
        output.line(f"{sign} {side['image']}  {output.digest(side['digest'])}  {output.size(side['size'])}")
        for digest, why in side["missing"].items():
            output.say(f"{output.digest(digest)} could not be read: {why}")
    if found["same"]:
        output.line("the same image")
        return
    for word, platforms in found["platforms"].items():
        if platforms:
            output.line(f"platforms {word}: {', '.join(platforms)}")
    for each in found["each"]:
        output.line()
        output.line(f"{each['platform']}  {_change(each['size'])}")
        layers = each["layers"]
        kept = f"{len(layers['kept'])} kept ({output.size(layers['kept_bytes'])})"
        output.line(f"layers: {kept}, {len(layers['added'])} added, {len(layers['removed'])} removed")
        rows = [("-", "layer", output.digest(x["digest"]), output.size(x["size"])) for x in layers["removed"]]
        rows += [("+", "layer", output.digest(x["digest"]), output.size(x["size"])) for x in layers["added"]]
        rows += _rows("setting", each["config"])
        rows += _rows("package", each["packages"]) if each["packages"] is not None else []
        output.table(dict(zip(("", "what", "name", "value"), row, strict=True)) for row in rows)
        if each["packages"] is None:
            output.say("packages: one of the two has no SBOM that can be read")
    findings = found["findings"]
    output.line()
    output.line(f"findings: {len(findings['added'])} new, {len(findings['removed'])} gone, {findings['kept']} in both")
    output.table(
        {"": sign, "finding": f["id"], "severity": f["severity"], "package": ", ".join(f["packages"])}
        for sign, changed in (("-", "removed"), ("+", "added"))
        for f in findings[changed]
    )
    if not all(findings["scanned"]):
        output.say("one of the two has no completed scan: the difference of findings is not known in full")


def _rows(what: str, changes: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    rows = [("-", what, name, value) for name, value in changes["removed"].items()]
    for name, (before, after) in changes["changed"].items():
        rows += [("-", what, name, before), ("+", what, name, after)]
    return rows + [("+", what, name, value) for name, value in changes["added"].items()]


def _change(size: int | None) -> str:
    if size is None:
        return "size not known"
    return f"{'+' if size > 0 else '-' if size < 0 else ''}{output.size(abs(size))}"
