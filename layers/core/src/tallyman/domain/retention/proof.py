"""The proof of a removal: the image, the rule that removed it, and that nothing needed it. Kept permanently."""

import json
from collections.abc import Sequence
from typing import Any

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.retention.plan import Plan
from tallyman.domain.retention.protections import PROTECTIONS
from tallyman.domain.times import format_time, text_or_none
from tallyman.domain.usage import Reading

FOLDER = "proofs"
"""The folder of the archive."""


def proof(
    plan: Plan,
    repository: Repository,
    digest: Digest,
    manifest: Manifest | None,
    readings: Sequence[Reading],
    marked: str,
) -> bytes:
    """The proof as JSON: {repository, digest, tags, kind, family, pushed_at, pulled_at, size, media_type, manifest,
    action, reason, policy, marked_at, looked_at, protections: [{name, question, answer}], usage: [{source, where, at,
    uses}]}. `manifest` is its text; `marked`: when the image was marked."""
    image = plan.image(plan.inventory.rows[digest])
    answers = dict(image.protections)
    document: dict[str, Any] = {
        "repository": str(repository),
        "digest": digest,
        "tags": list(image.tags),
        "kind": image.kind,
        "family": image.family,
        "pushed_at": format_time(image.pushed_at),
        "pulled_at": text_or_none(image.pulled_at),
        "size": image.size,
        "media_type": manifest.media_type if manifest else None,
        "manifest": manifest.raw.decode("utf-8", "replace") if manifest else None,
        "action": str(plan.retention.action),
        "reason": image.reason,
        "policy": plan.policy,
        "marked_at": marked,
        "looked_at": format_time(plan.now),
        "protections": [
            {"name": name, "question": question, "answer": answers.get(name, "no")}
            for name, question in PROTECTIONS.items()
        ],
        "usage": [
            {"source": r.source, "where": str(r.where), "at": format_time(r.at), "uses": len(r.uses)} for r in readings
        ],
    }
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
