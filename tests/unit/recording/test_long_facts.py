"""The size of a fact does not grow with its image: long details are in the archive, and reads return the complete
fact."""

import json
from dataclasses import replace

from support.fakes.ports import FakeArchive, FakeLedger
from support.fakes.recording import RecordingStack, policy
from support.images.builders import DEV, NOON, image, push_event, pushed
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.manifest import OCI_INDEX, OCI_MANIFEST, Manifest
from tallyman.domain.names import Digest
from tallyman.ports.records import Appended
from tallyman.services.shared.long_details import FOLDER, LIMIT, LongDetails

ITEM = 100 * 1024
"""Bytes that an item of a fact has at most, keys and all."""


def largest(ledger: FakeLedger) -> int:
    return max(len(json.dumps(item)) for item in ledger.items.values())


def test_a_push_of_an_index_of_4000_images_is_recorded_completely() -> None:
    system = RecordingStack(policy(verified=True))
    children = [
        {
            "mediaType": OCI_MANIFEST,
            "digest": Digest.of(f"{number}".encode()),
            "size": 7,
            "platform": {"os": "linux", "architecture": "amd64", "variant": f"v{number}"},
        }
        for number in range(4000)
    ]
    raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children}).encode()
    digest, there = Digest.of(raw), system.registries.held(DEV)
    there.manifests[digest], there.pushed_at[digest] = Manifest(raw, OCI_INDEX), system.clock()
    there.tags["v1.0.0"] = digest
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    assert largest(system.ledger) < ITEM
    read = LongDetails(system.ledger, system.archive).of_digest(digest)
    (push,) = [fact for fact in read if fact.kind is Kind.PUSHED]
    assert [child["digest"] for child in push.detail["platforms"]] == [child["digest"] for child in children]
    assert push.detail["current"] == digest
    assert [fact for fact in read if fact.kind is Kind.DECIDED]


def test_short_details_are_in_the_fact_without_an_archived_object() -> None:
    ledger, archive = FakeLedger(), FakeArchive()
    fact = pushed(image("a").digest, at=NOON)
    assert LongDetails(ledger, archive).append(fact) is Appended.WRITTEN
    assert ledger.facts == [fact]
    assert not archive.objects


def test_every_part_is_restored_and_indexed_fields_stay_in_the_fact() -> None:
    ledger, archive = FakeLedger(), FakeArchive()
    detail = {"name": "team/app", "tags": ["t" * 100] * 1000, "gates": [{"reason": "r" * LIMIT}], "to": "prod"}
    fact = replace(pushed(image("a").digest, at=NOON), kind=Kind.DECIDED, detail=detail)
    long = LongDetails(ledger, archive)
    assert long.append(fact) is Appended.WRITTEN
    assert long.append(fact) is Appended.KNOWN
    (stored,) = ledger.facts
    assert (stored.detail["name"], stored.detail["to"]) == ("team/app", "prod")
    assert largest(ledger) < ITEM
    assert [folder for folder, _ in archive.objects] == [FOLDER]
    assert LongDetails(ledger, archive).of_digest(image("a").digest) == [fact]
