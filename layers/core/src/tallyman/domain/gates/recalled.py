"""The gate `recalled`, which every promotion has: nobody has recalled the image or an image beneath it. A recall can't
be overridden or undone: an image that was recalled by mistake has to be built again."""

from tallyman.domain.gates.case import FAILED, PASSED, Case, GateResult, ImageFacts
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest
from tallyman.domain.people import who
from tallyman.domain.times import format_time

NAME = "recalled"


def judge(case: Case) -> GateResult:
    """Failed where the image, or an image beneath it, was recalled. A recall counts in every environment."""
    image = case.image
    found = recalls(image)
    if not found:
        return GateResult(NAME, PASSED, "not recalled")
    digest, first = min(found, key=lambda pair: (pair[1].at, pair[1].id))
    what = "" if digest == image.digest else f"{image.platform_names.get(digest, digest.short)} beneath it: "
    reason = f"{what}recalled by {who(first)} at {format_time(first.at)}: {Said.parse(first).because}"
    return GateResult(NAME, FAILED, reason, {"digest": first.digest, "at": format_time(first.at), "by": who(first)})


def recalls(image: ImageFacts) -> list[tuple[Digest, Fact]]:
    """The recalls of the image and of the images and indexes beneath it, each with the digest that was recalled."""
    members = {image.digest: image.facts, **image.platforms, **image.indexes}
    return [(digest, fact) for digest, facts in members.items() for fact in facts if fact.kind is Kind.RECALLED]
