"""A pending image whose promotion the policy no longer has: reconcile removes its item."""

from collections.abc import Mapping
from typing import Any

import pytest

from support.fakes.policies import parsed
from support.fakes.ports import listed
from support.fakes.recording import RecordingStack
from support.images.builders import DEV, PROD, image, push_event
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.state import pending as pending_items
from tallyman.state.pending import PENDING

HELD = {"from": "dev", "to": "prod", "gates": {"soak": "24h"}}


def rules(*promotions: Mapping[str, Any], dev: str = str(DEV.registry)) -> Policy:
    registries = {"dev": {"registries": [dev]}, "prod": {"registries": [str(PROD.registry)]}}
    rule = {"match": "rocketseat/*", "create": {"immutable": True}, "promotions": list(promotions)}
    return parsed({"environments": registries, "repositories": [rule]})


def held() -> tuple[RecordingStack, Digest]:
    """An image that is pending for prod."""
    system = RecordingStack(rules(HELD))
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert len(pending(system)) == 1
    return system, digest


def pending(system: RecordingStack) -> list[Mapping[str, Any]]:
    return [item.data for item in listed(system.state, pending_items.partition("prod"))]


def reconcile(system: RecordingStack) -> dict[str, Any]:
    system.clock.advance(minutes=15)
    return system.reconcile()


@pytest.mark.parametrize("policy", [rules(), rules(HELD, dev="333333333333/us-east-2")], ids=["dropped", "moved"])
def test_an_image_whose_promotion_is_gone_is_pending_no_longer(policy: Policy) -> None:
    system, _ = held()
    system.policy = policy
    assert reconcile(system)["problems"] == []
    assert pending(system) == []
    assert reconcile(system)["waiting"] == {"dev": 0, "prod": 0}


def test_a_promotion_that_the_policy_has_again_is_pending_again() -> None:
    system, digest = held()
    system.policy = rules()
    reconcile(system)
    system.policy = rules(HELD)
    reconcile(system)
    system.process().evaluator.digest(digest)
    (waits,) = pending(system)
    assert (waits["verdict"], waits["gate"]) == ("waiting", "soak")


def test_one_that_may_have_set_a_tag_stays_for_the_people_who_have_to_end_it() -> None:
    system, digest = held()
    entry = PENDING.read(system.state, pending_items.key("prod", DEV.name, digest, "dev"))
    begun = {**entry.value.dump(), "tagging_since": "2026-11-16T01:54:34Z"}
    system.state.put(entry.write(entry.value.parse(begun)))
    system.policy = rules()
    reconcile(system)
    assert len(pending(system)) == 1
