"""The one source of `events/`: what each function really gets, for one push of `rocketseat/widget-server`.

What the payloads are made of is in `parts`; what registries report in `registry`, what CloudTrail reports in `trail`,
and what people ask for in `commands`.
"""

import json
from collections.abc import Mapping
from typing import Any

from tallyman.domain.images.manifest import OCI_INDEX
from tallyman.domain.names import EcrRegistry
from tallyman_cli.events import registry, trail
from tallyman_cli.events.commands import commands
from tallyman_cli.events.parts import (
    EVENTBRIDGE,
    HUB,
    PERSON,
    RECORDER,
    REPLICA,
    Json,
    Subject,
    batch,
    event,
    made_up,
    subject,
    uid,
)

Messages = dict[str, dict[str, tuple[str, list[Json | str]]]]
"""By function and name of the file: the sender and the bodies."""


def payloads(about: Subject | None = None) -> dict[str, Json]:
    """Every payload, by its path below `events/`."""
    about = about or subject()
    files: dict[str, Json] = {}
    for function, names in messages(about).items():
        for name, (sender, bodies) in names.items():
            path = f"{function}/{name}.json"
            files[path] = batch(path, function, sender, bodies)
    files["reconcile/schedule.json"] = _schedule(about)
    return files


def text(payload: Mapping[str, Any]) -> str:
    """The file of a payload."""
    return json.dumps(payload, indent=2) + "\n"


def messages(about: Subject) -> Messages:
    """The messages of every function but `reconcile`, which has a schedule."""
    delete = registry.change(about, "DELETE", "2026-11-17T08:00:00Z", {"image-tag": "v0.9.0-fedcba9"})
    stored = {"target-storage-class": "ARCHIVE"}
    archive = registry.change(about, "UPDATE_STORAGE_CLASS", "2026-11-18T08:00:00Z", stored)
    push = registry.push(about, about.index, about.tag, OCI_INDEX)
    place = f"{about.registry}/{about.name}"
    verify = {"repository": place, "digest": about.index, "tag": about.tag, "request": uid("request verify")}
    candidate = {"digest": about.index, "repository": about.name, "from": "dev", "to": "prod"}
    return {
        "record_push": {
            "push": (EVENTBRIDGE, [push]),
            "push-ten": (EVENTBRIDGE, registry.ten(about, push)),
            "push-doubled": (EVENTBRIDGE, [push, push]),
            "poison": (EVENTBRIDGE, registry.poison(about, push)),
            "delete": (EVENTBRIDGE, [delete]),
            "archive": (EVENTBRIDGE, [archive]),
            "referrer": (EVENTBRIDGE, [registry.referrer(about)]),
            "replication": (EVENTBRIDGE, [registry.replication(about)]),
            "call": (EVENTBRIDGE, trail.calls(about)),
            "round-trip": (EVENTBRIDGE, [registry.round_trip(about)]),
            "check": (EVENTBRIDGE, [registry.check(about)]),
        },
        "verify_digest": {"push": (EVENTBRIDGE, [push]), "hint": (PERSON, [{"verify": verify}])},
        "verify_origin": {"hint": (RECORDER, [{"verify_origin": {"repository": place, "digest": about.index}}])},
        "record_scan": {
            "basic": (EVENTBRIDGE, [registry.scan(about, 0, "COMPLETE", {"CRITICAL": 1, "MEDIUM": 9})]),
            "failed": (EVENTBRIDGE, [registry.scan(about, 1, "FAILED", {})]),
            "inspector": (EVENTBRIDGE, [registry.inspector(about)]),
        },
        "record_command": {name: (PERSON, [asked]) for name, asked in commands(about).items()},
        "apply_retention": {
            "hint": (RECORDER, [{"repository": place}]),
            "schedule": (EVENTBRIDGE, [{"all": True}]),
        },
        "roll_out": {"released": (EVENTBRIDGE, [_released(about)])},
        "promote_image": {"hint": (RECORDER, [{**candidate, "correlation": push["id"]}])},
    }


def _released(about: Subject) -> Json:
    """Our own event, on our own bus: prod runs another digest from now on."""
    places = [EcrRegistry("222222222222", "us-east-2"), REPLICA]
    detail = {
        "id": uid("release").replace("-", ""),
        "environment": "prod",
        "repository": about.name,
        "digest": about.index,
        "tags": [about.tag],
        "images": {str(r): f"{r.host}/{about.name}@{about.index}" for r in places},
        "previous": None,
        "policy": made_up("policy"),
        "at": "2026-11-16T02:04:10.512Z",
        "change": "promotion",
        "decision": {"id": uid("decision").replace("-", ""), "policy": made_up("policy"), "gates": []},
        "by": None,
        "because": None,
    }
    found = event(about, "released", "Image Released", "2026-11-16T02:04:11Z", detail)
    return found | {"source": "tallyman", "account": HUB.account, "region": HUB.region}


def _schedule(about: Subject) -> Json:
    """The event of EventBridge's schedule, which comes without a queue."""
    rule = f"arn:aws:events:{HUB.region}:{HUB.account}:rule/tallyman-reconcile"
    found = event(about, "schedule", "Scheduled Event", "2026-11-16T02:00:00Z", {}, [rule])
    return found | {"source": "aws.events", "account": HUB.account, "region": HUB.region}
