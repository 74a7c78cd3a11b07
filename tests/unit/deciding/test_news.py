"""Which decisions about an index are made again when one of its images is pushed or verified again."""

import json
from dataclasses import replace
from types import SimpleNamespace

from support.fakes.flows import Flow, policy
from support.images.builders import DEV, NOON, delete_event, fact, image, index, multi_arch, push_event
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.facts import Kind
from tallyman.services.deciding.news import is_same


def deliver(flow: Flow, event: dict[str, object]) -> None:
    """Deliver this event to record_push."""
    flow.queue.append((flow.clock(), "push", json.dumps(event)))
    flow.work()
    flow.clock.advance(seconds=2)


def scan_gate(flow: Flow) -> str:
    """The gate's verdict in the newest decision."""
    return next(str(g["reason"]) for g in flow.facts(Kind.DECIDED)[-1].detail["gates"] if g["name"] == "scan")


def test_a_removed_statement_causes_a_decision_about_its_index_when_pushed_again() -> None:
    flow = Flow(policy(attested=["provenance"], soak="1h"))
    built = multi_arch("a", attested=True)
    flow.push(built, "v1.0.0")
    flow.work()
    statement = next(c.digest for c in built.root.children if c.is_attestation)
    there = flow.registries.held(DEV)
    manifest = there.manifests[statement]
    flow.registries.delete(DEV, statement)
    flow.clock.advance(seconds=5)
    deliver(flow, delete_event(DEV, statement, at=flow.clock()))
    removed = flow.facts(Kind.DECIDED)[-1]
    assert removed.digest == built.digest
    there.manifests[statement], there.pushed_at[statement] = manifest, flow.clock()
    deliver(flow, push_event(DEV, statement, "", at=flow.clock()))
    again = flow.facts(Kind.DECIDED)[-1]
    assert again.id != removed.id
    assert again.digest == built.digest


def test_a_nested_index_causes_a_decision_about_the_one_above() -> None:
    """Its push says which platform images are beneath both."""
    flow = Flow(policy(soak="1h"))
    inner = index(image("a", architecture="amd64"), image("b", architecture="arm64"))
    outer = index(inner)
    flow.registries.push(DEV, outer, "v1.0.0")
    flow.delivered = len(flow.registries.pushes)  # the events arrive one by one
    deliver(flow, push_event(DEV, outer.digest, "v1.0.0", at=flow.clock()))
    assert "2 platform images" not in scan_gate(flow)
    deliver(flow, push_event(DEV, inner.digest, "", at=flow.clock()))
    assert "2 platform images" in scan_gate(flow)


def test_a_push_of_a_platform_image_reads_nothing_of_the_index_above_it() -> None:
    flow = Flow(policy(soak="1h"))
    built = multi_arch("a")
    flow.push(built, "v1.0.0")
    flow.work()
    before, decisions = flow.counted(), len(flow.facts(Kind.DECIDED))
    flow.clock.advance(seconds=5)
    deliver(flow, push_event(DEV, built.root.children[0].digest, "", at=flow.clock()))
    assert flow.spent(before).calls["query"] == 1
    assert len(flow.facts(Kind.DECIDED)) == decisions


def test_a_fact_that_is_called_as_the_kinds_of_flaws_is_not_taken_for_them() -> None:
    """A key of the policy may have any name; the facts of an earlier release lack the kinds of flaws."""

    def decided(**facts: object) -> Decided:
        gate = {"name": "signed", "verdict": "failed", "reason": facts.pop("reason"), "facts": facts}
        return Decided("prod", "dev", "app", ["v1.0.0"], "failed", "sha256:p", None, [gate])

    old = decided(reason="in old words", keys=["refusals"], refused=["in old words"])
    refusals = [{"referrer": "sha256:a", "flaw": "unverified"}]
    new = decided(reason="in new words", keys=["refusals"], refused=["in new words"], refusals=refusals)
    last = fact(Kind.DECIDED, image("a").digest, DEV, at=NOON, seen=NOON)
    assert is_same(replace(last, detail=old.dump()), SimpleNamespace(details=new))  # type: ignore[arg-type]
