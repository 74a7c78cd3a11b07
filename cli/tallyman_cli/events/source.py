"""The one source of `events/`: what each function really gets, for one push of `rocketseat/widget-server`.

What the payloads are made of is in `parts`; what registries report in `registry`, what CloudTrail reports in `trail`,
and what people ask for in `commands`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tallyman.domain.names import EcrRegistry
from tallyman_cli.events.commands import commands
from tallyman_cli.events.parts import (
    EVENTBRIDGE,
    HUB,
    INDEX,
    PERSON,
    RECORDER,
    REPLICA,
    Json,
    Payloads,
    Subject,
    batch,
    made_up,
    subject,
    uid,
)
from tallyman_cli.events.registry import RegistryPayloads
from tallyman_cli.events.trail import TrailPayloads

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
    files["reconcile/schedule.json"] = OwnPayloads(about).schedule()
    return files


def text(payload: Mapping[str, Any]) -> str:
    """The file of a payload."""
    return json.dumps(payload, indent=2) + "\n"


def messages(about: Subject) -> Messages:
    """The messages of every function but `reconcile`, which has a schedule."""
    registry, own = RegistryPayloads(about), OwnPayloads(about)
    push = registry.push(about.index, about.tag, INDEX)
    verify = {
        "repository": f"{about.registry}/{about.name}",
        "digest": about.index,
        "tag": about.tag,
        "request": uid("request verify"),
    }
    candidate = {"digest": about.index, "repository": about.name, "from": "dev", "to": "prod"}
    return {
        "record_push": {
            "push": (EVENTBRIDGE, [push]),
            "push-ten": (EVENTBRIDGE, registry.ten(push)),
            "push-doubled": (EVENTBRIDGE, [push, push]),
            "poison": (EVENTBRIDGE, registry.poison(push)),
            "delete": (
                EVENTBRIDGE,
                [registry.change("DELETE", "2026-11-17T08:00:00Z", {"image-tag": "v0.9.0-fedcba9"})],
            ),
            "archive": (
                EVENTBRIDGE,
                [registry.change("UPDATE_STORAGE_CLASS", "2026-11-18T08:00:00Z", {"target-storage-class": "ARCHIVE"})],
            ),
            "referrer": (EVENTBRIDGE, [registry.referrer()]),
            "replication": (EVENTBRIDGE, [registry.replication()]),
            "call": (EVENTBRIDGE, TrailPayloads(about).calls()),
            "round-trip": (EVENTBRIDGE, [registry.round_trip()]),
            "check": (EVENTBRIDGE, [registry.check()]),
        },
        "verify_digest": {"push": (EVENTBRIDGE, [push]), "hint": (PERSON, [{"verify": verify}])},
        "verify_origin": {
            "hint": (
                RECORDER,
                [{"verify_origin": {"repository": f"{about.registry}/{about.name}", "digest": about.index}}],
            ),
        },
        "record_scan": {
            "basic": (EVENTBRIDGE, [registry.scan(0, "COMPLETE", {"CRITICAL": 1, "MEDIUM": 9})]),
            "failed": (EVENTBRIDGE, [registry.scan(1, "FAILED", {})]),
            "inspector": (EVENTBRIDGE, [registry.inspector()]),
        },
        "record_command": {name: (PERSON, [asked]) for name, asked in commands(about).items()},
        "apply_retention": {
            "hint": (RECORDER, [{"repository": f"{about.registry}/{about.name}"}]),
            "schedule": (EVENTBRIDGE, [{"all": True}]),
        },
        "roll_out": {"released": (EVENTBRIDGE, [own.released()])},
        "promote_image": {"hint": (RECORDER, [{**candidate, "correlation": push["id"]}])},
    }


@dataclass(frozen=True, slots=True)
class OwnPayloads(Payloads):
    """The stack's own event, and its schedule's."""

    def released(self) -> Json:
        """Our own event, on our own bus: prod runs another digest from now on."""
        places = [EcrRegistry("222222222222", "us-east-2"), REPLICA]
        detail = {
            "id": uid("release").replace("-", ""),
            "environment": "prod",
            "repository": self.about.name,
            "digest": self.about.index,
            "tags": [self.about.tag],
            "images": {str(r): f"{r.host}/{self.about.name}@{self.about.index}" for r in places},
            "previous": None,
            "policy": made_up("policy"),
            "at": "2026-11-16T02:04:10.512Z",
            "change": "promotion",
            "decision": {"id": uid("decision").replace("-", ""), "policy": made_up("policy"), "gates": []},
            "by": None,
            "because": None,
        }
        event = self.event("released", "Image Released", "2026-11-16T02:04:11Z", detail)
        return event | {"source": "tallyman", "account": HUB.account, "region": HUB.region}

    def schedule(self) -> Json:
        """The event of EventBridge's schedule, which comes without a queue."""
        rule = f"arn:aws:events:{HUB.region}:{HUB.account}:rule/tallyman-reconcile"
        event = self.event("schedule", "Scheduled Event", "2026-11-16T02:00:00Z", {}, [rule])
        return event | {"source": "aws.events", "account": HUB.account, "region": HUB.region}
