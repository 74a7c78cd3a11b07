"""Compares ECR's own lifecycle policy with our plan."""

from datetime import datetime
from pathlib import Path
from typing import Any

from tallyman.adapters.files.reading import text
from tallyman.domain.retention import Plan
from tallyman.domain.retention.inventory import moment
from tallyman.domain.retention.lifecycle import LifecycleImage, evaluate, parse_lifecycle_policy
from tallyman.errors import BadInput


def read(file: Path) -> str:
    """Read a lifecycle document from a file. Raises BadInput if it can't be read."""
    try:
        return text(file)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error


def beside(text: str, plan: Plan, now: datetime) -> list[dict[str, Any]]:
    """What either does with every image: {digest, tags, native, rule, action, reason}. `native`: expire, transition or
    None; `rule`: the priority of ECR's rule."""
    inventory = plan.inventory
    digests = inventory.digests
    images = [
        LifecycleImage(
            digest=digests[row],
            tags=inventory.tags[row],
            pushed_at=moment(inventory.pushed[row]),
            pulled_at=moment(inventory.pulled[row]) if inventory.pulled[row] >= 0 else None,
            archived=bool(inventory.archived[row]),
            listed_by=tuple(digests[index] for index in plan.links.above.get(row, ())),
        )
        for row in range(len(digests))
    ]
    marked = {found.digest: found for found in evaluate(parse_lifecycle_policy(text), images, now)}
    return [
        {
            "digest": image.digest,
            "tags": list(image.tags),
            "native": marked[image.digest].action if image.digest in marked else None,
            "rule": marked[image.digest].priority if image.digest in marked else None,
            "action": image.action,
            "reason": image.reason,
        }
        for image in plan.images()
    ]
