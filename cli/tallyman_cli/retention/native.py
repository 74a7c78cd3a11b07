"""ECR's own lifecycle policy beside our plan."""

from datetime import datetime
from pathlib import Path
from typing import Any

from tallyman.domain.retention import Plan
from tallyman.domain.retention.inventory import moment
from tallyman.domain.retention.lifecycle import LifecycleImage, evaluate, parse_lifecycle_policy
from tallyman.errors import BadInput


def read(file: Path) -> str:
    """The document in a file. BadInput where it can't be read."""
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{file} is not text: {error}") from error


def beside(text: str, plan: Plan, now: datetime) -> list[dict[str, Any]]:
    """For every image what either does: {digest, tags, native: expire, transition or None, rule, action, reason}."""
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
