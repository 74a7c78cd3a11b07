"""The gate `tags`, which every promotion has: the image has at least one tag that may be promoted."""

from tallyman.domain.gates.case import FAILED, PASSED, Case, GateResult
from tallyman.domain.policy import TagRule


def judge(rule: TagRule, case: Case) -> GateResult:
    """Passed where `case.tags`, the tags to promote, is not empty; else failed, until a new fact adds a tag."""
    here = sorted(
        tag
        for (repository, tag), digest in case.image.pointing.items()
        if digest == case.image.digest and repository in case.source_repositories
    )
    facts = {"tags": here, "going": list(case.tags), "rule": str(rule)}
    if case.tags:
        gone = [tag for tag in case.tags if tag not in here]
        begun = f"; the promotion of {', '.join(gone)} has begun, and will be finished" if gone else ""
        return GateResult("tags", PASSED, f"{', '.join(case.tags)} may be promoted{begun}", facts)
    if not here:
        return GateResult("tags", FAILED, f"no tag of {case.source.name} points to it", facts)
    allowed = case.policy.repository(case.repository).tags
    barred = [tag for tag in here if rule.allows(tag) and not allowed.allows(tag)]
    why = (
        f"the repository allows only {allowed}" if barred else f"only {rule} may be promoted to {case.destination.name}"
    )
    return GateResult("tags", FAILED, f"{', '.join(here)}: {why}", facts)
