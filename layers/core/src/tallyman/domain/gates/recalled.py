"""The gate `recalled`, which every promotion has: nobody has recalled the image or an image beneath it. A recall can't
be overridden or undone: an image that was recalled by mistake has to be built again."""

from tallyman.domain.gates.case import FAILED, PASSED, Case, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Kind
from tallyman.domain.people import who
from tallyman.domain.times import format_time

NAME = "recalled"


def judge(case: Case) -> GateResult:
    """Failed where the image, or an image beneath it, was recalled. A recall counts in every environment."""
    image = case.image
    members = {image.digest: image.facts, **image.platforms, **image.indexes}
    names = image.platform_names
    found = [
        (fact.at, fact.id, fact, "" if digest == image.digest else f"{names.get(digest, digest.short)} beneath it: ")
        for digest, facts in members.items()
        for fact in facts
        if fact.kind is Kind.RECALLED
    ]
    if not found:
        return GateResult(NAME, PASSED, "nobody has recalled it")
    _, _, first, what = min(found, key=lambda row: row[:2])
    reason = f"{what}recalled by {who(first)} at {format_time(first.at)}: {Said.parse(first).because}"
    return GateResult(NAME, FAILED, reason, {"digest": first.digest, "at": format_time(first.at), "by": who(first)})
