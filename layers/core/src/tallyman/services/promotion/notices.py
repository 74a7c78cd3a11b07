"""Notices of a promotion, published before it is recorded: after a crash in between they are sent twice, never lost."""

from collections.abc import Mapping

from tallyman.domain.decide import Decision
from tallyman.ports.messages import Notices


def referrers_left_out(notices: Notices, decision: Decision, left_out: Mapping[str, Mapping[str, str]]) -> None:
    """Announce referrers (signatures, SBOMs) that a registry refused. `left_out`: by registry, digests with
    reasons."""
    image, to = _image(decision), decision.target
    lines = [f"{r}: {digest}: {why}" for r, reasons in left_out.items() for digest, why in reasons.items()]
    notices.publish(
        f"{image} was promoted to {to} without some of its referrers",
        "\n".join([f"{image} ({decision.digest}) is in {to}, but these referrers are not:", *lines]),
        _attributes("left_out", decision),
    )


def not_released(notices: Notices, decision: Decision, reason: str) -> None:
    """Announce that the image was promoted and the release did not move. `reason`: why."""
    image, to = _image(decision), decision.target
    notices.publish(
        f"{image} is in {to}, but not released",
        f"{image} is promoted to {to} and tagged there; the release stays: {reason}.\n"
        f"Digest: {decision.digest}\n"
        f"To release it all the same: tallyman release roll-back {to}/{decision.repository} --to {decision.tags[0]}",
        _attributes("not_released", decision),
    )


def not_replicated(notices: Notices, decision: Decision, late: Mapping[str, str]) -> None:
    """Announce that the image was copied where ECR did not replicate it. `late`: by registry, why."""
    image, to = _image(decision), decision.target
    lines = [f"{registry}: {reason}" for registry, reason in late.items()]
    todo = "To find what is wrong with the replication: tallyman doctor"
    notices.publish(
        f"ECR did not replicate {image} within {to}: it was copied",
        "\n".join([f"{image} ({decision.digest}) was copied to these registries of {to}:", *lines, todo]),
        _attributes("not_replicated", decision),
    )


def _image(decision: Decision) -> str:
    return f"{decision.repository}:{decision.tags[0]}"


def _attributes(kind: str, decision: Decision) -> dict[str, str]:
    return {"kind": kind, "environment": decision.target, "repository": decision.repository}
