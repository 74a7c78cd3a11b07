"""The gate `recalled`, which is always asked: nobody has recalled the image, nor anything beneath it. Never overridden,
never undone: what was recalled by mistake is built anew."""

from tallyman.domain.gates.case import FAILED, PASSED, Case, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Kind
from tallyman.domain.people import who
from tallyman.domain.times import format_time

NAME = "recalled"


def judge(case: Case) -> GateResult:
    """A recalled digest blocks itself and every index above it, in every environment."""
    image = case.image
    family = {image.digest: image.facts, **image.platforms, **image.indexes}
    names = image.platform_names
    found = [
        (fact.at, fact.id, fact, "" if digest == image.digest else f"{names.get(digest, digest.short)} beneath it: ")
        for digest, facts in family.items()
        for fact in facts
        if fact.kind is Kind.RECALLED
    ]
    if not found:
        return GateResult(NAME, PASSED, "nobody has recalled it")
    _, _, first, what = min(found, key=lambda row: row[:2])
    reason = f"{what}recalled by {who(first)} at {format_time(first.at)}: {Said.parse(first).because}"
    return GateResult(NAME, FAILED, reason, {"digest": first.digest, "at": format_time(first.at), "by": who(first)})
