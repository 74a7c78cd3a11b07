"""record_push: an event is recorded with what the registry itself answers."""

import json
from dataclasses import replace
from typing import Any

import pytest

from support.fakes.ports import listed
from support.fakes.recording import RecordingStack, policy
from support.fakes.vanishing import dropped_before
from support.images import signing
from support.images.builders import (
    DEV,
    PROD,
    attestation,
    delete_event,
    event,
    fact,
    image,
    index,
    multi_arch,
    push_event,
    referrer,
    referrer_event,
    replication_event,
    sbom,
    scan_event,
    signature,
    storage_event,
)
from tallyman.domain.history.details.promotions import TaggingBegun
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadMessage, Unreachable
from tallyman.services.recording.registry_state import active
from tallyman.state import pending as pending_items


def test_a_push_is_a_fact_with_the_registrys_data_about_the_image() -> None:
    system = RecordingStack()
    app = multi_arch("a", attested=True)
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, app.digest, "v1.0.0"))
    (pushed,) = system.facts(Kind.PUSHED)
    assert (pushed.digest, pushed.tag, pushed.media_type) == (app.digest, "v1.0.0", app.media_type)
    assert pushed.size
    assert pushed.detail["current"] == app.digest
    assert [p["platform"] for p in pushed.detail["platforms"]] == ["linux/amd64", "linux/arm64"]
    assert system.archive.get("manifests", app.digest) == app.raw
    assert {f.digest for f in system.facts(Kind.CHILD_OF)} == set(app.manifests) - {app.digest}
    assert DEV in active(system.state, system.clock())


def test_a_doubled_event_writes_nothing() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    found = push_event(DEV, digest, "v1.0.0")
    system.deliver(found)
    facts, state = system.ledger.facts, dict(system.state.items)
    system.deliver(found, found)
    assert (system.ledger.facts, system.state.items) == (facts, state)


def test_after_pushes_reported_in_the_wrong_order_a_tag_points_where_the_registry_says() -> None:
    system = RecordingStack()
    first = system.registries.push(DEV, image("a"), "latest")
    then = system.clock()
    second_at = system.clock.advance(minutes=1)
    second = system.registries.push(DEV, image("b"), "latest")
    system.deliver(push_event(DEV, second, "latest", at=second_at), push_event(DEV, first, "latest", at=then))
    assert system.points_to("latest") == second
    assert [(r.kind, r.digest) for r in system.rows()] == [
        ("pushed", first),
        ("pushed", second),
        ("tag_moved", second),
    ]


def test_two_pushes_within_one_second_are_ordered_by_the_registrys_answer() -> None:
    system = RecordingStack()
    digests = [system.registries.push(DEV, image(c), "latest") for c in "ab"]
    for order in (digests, digests[::-1]):
        system.deliver(*(push_event(DEV, d, "latest", at=system.clock()) for d in order))
        assert [r.digest for r in system.rows() if r.kind == "pushed"] == digests


def test_an_event_of_a_removed_image_is_still_recorded() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.registries.delete(DEV, digest)
    system.deliver(push_event(DEV, digest, "v1.0.0"))
    assert [r.kind for r in system.rows()] == ["pushed"]
    assert system.points_to("v1.0.0") is None


def test_an_event_of_a_deleted_repository_is_still_recorded() -> None:
    system = RecordingStack()
    gone = Repository(DEV.registry, "rocketseat/gone")
    system.deliver(push_event(gone, image("a").digest, "v1.0.0"), delete_event(gone, image("a").digest, "v1.0.0"))
    assert {r.kind for r in system.rows(gone)} == {"pushed", "untagged"}


def test_a_deleted_image_removes_its_tags() -> None:
    system = RecordingStack()
    app = image("a")
    for tag in ("v1.0.0", "latest"):
        system.registries.push(DEV, app, tag)
        system.deliver(push_event(DEV, app.digest, tag, at=system.clock()))
    system.clock.advance(minutes=1)
    system.registries.delete(DEV, app.digest)
    system.deliver(delete_event(DEV, app.digest, at=system.clock()))
    assert (system.points_to("v1.0.0"), system.points_to("latest")) == (None, None)
    assert [r.kind for r in system.rows() if r.tag is None] == ["deleted"]


def test_removing_a_tag_keeps_the_image_and_its_other_tags() -> None:
    system = RecordingStack()
    app = image("a")
    for tag in ("v1.0.0", "latest"):
        system.registries.push(DEV, app, tag)
        system.deliver(push_event(DEV, app.digest, tag, at=system.clock()))
    system.clock.advance(minutes=1)
    system.registries.untag(DEV, "latest")
    system.deliver(delete_event(DEV, app.digest, "latest", at=system.clock()))
    assert (system.points_to("v1.0.0"), system.points_to("latest")) == (app.digest, None)
    assert system.facts(Kind.DELETED) == []


def test_an_image_is_pending_only_while_its_tag_exists() -> None:
    system = RecordingStack(policy(soak="24h"))
    app = image("a")
    system.registries.push(DEV, app)
    for _ in range(2):
        system.registries.push(DEV, app, "v1.0.0")
        system.deliver(push_event(DEV, app.digest, "v1.0.0", at=system.clock()))
        assert len(listed(system.state, pending_items.partition("prod"))) == 1
        system.clock.advance(minutes=1)
        held = system.registries.held(DEV)
        del held.tags["v1.0.0"]
        system.deliver(delete_event(DEV, app.digest, "v1.0.0", at=system.clock()))
        assert listed(system.state, pending_items.partition("prod")) == []
        system.clock.advance(minutes=1)


def test_archiving_restoring_replication_and_referrers_are_recorded() -> None:
    system = RecordingStack()
    app = image("a")
    sig = signature(app)
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(DEV, sig)
    system.deliver(
        replication_event(DEV, app.digest, "v1.0.0", PROD.registry, at=system.clock()),
        referrer_event(DEV, sig.digest, at=system.clock()),
    )
    system.registries.held(DEV).archived.add(app.digest)
    system.deliver(storage_event(DEV, app.digest, at=system.clock.advance(minutes=1)))
    system.registries.held(DEV).archived.clear()
    system.deliver(storage_event(DEV, app.digest, "STANDARD", at=system.clock.advance(minutes=1)))
    assert [r.kind for r in system.rows() if r.digest == app.digest] == ["replicated", "archived", "restored"]
    assert system.facts(Kind.REPLICATED)[0].detail["source"] == str(PROD.registry)
    (referred,) = system.facts(Kind.REFERRED)
    assert (referred.digest, referred.detail["referrer"]) == (app.digest, sig.digest)


def test_failed_actions_of_the_registry_are_not_recorded() -> None:
    system = RecordingStack()
    system.deliver(push_event(DEV, image("a").digest, "v1.0.0", result="FAILURE"))
    assert system.ledger.facts == []


def test_a_foreign_push_to_prod_is_a_stowaway_notified_once_and_our_own_is_not() -> None:
    system = RecordingStack()
    own, foreign = image("own"), image("foreign")
    intent = {"registries": [str(PROD.registry)], "repository": PROD.name, "to": "prod"}
    system.ledger.append(replace(fact(Kind.INTENDED, own.digest), detail=intent))
    begun = TaggingBegun("prod", "dev", DEV.name, ["v1.0.0"])
    system.ledger.append(replace(fact(Kind.TAGGING, own.digest), detail=begun.dump()))
    for app, tag in ((own, "v1.0.0"), (foreign, "v1.0.1")):
        system.registries.push(PROD, app, tag)
        found = push_event(PROD, app.digest, tag, at=system.clock())
        system.deliver(found, found)
    assert [f.digest for f in system.facts(Kind.STOWAWAY)] == [foreign.digest]
    ((subject, text, attributes),) = system.notices.published
    assert (subject, attributes["kind"]) == ("stowaway in prod: rocketseat/widget-server", "stowaway")
    assert foreign.digest in text


def test_a_child_of_an_index_causes_no_decision_of_its_own() -> None:
    system = RecordingStack()
    child = image("child")
    app = index(child, attestation(child))
    system.registries.push(DEV, app, "v1.0.0")
    system.deliver(push_event(DEV, child.digest, ""))
    assert system.facts(Kind.DECIDED) == []
    system.deliver(push_event(DEV, app.digest, "v1.0.0"))
    assert [f.digest for f in system.facts(Kind.DECIDED)] == [app.digest]


def cloudtrail(name: str, request: dict[str, Any], response: Any = None, **more: Any) -> dict[str, Any]:
    record = {
        "eventID": "5d4d5a34-0000-4000-8000-000000000001",
        "eventName": name,
        "eventTime": "2026-11-16T12:00:00Z",
        "awsRegion": DEV.registry.region,
        "recipientAccountId": DEV.registry.account,
        "userIdentity": {"arn": "arn:aws:sts::111111111111:assumed-role/ci/42"},
        "requestParameters": {"repositoryName": DEV.name, **request},
        "responseElements": response,
    }
    return event("AWS API Call via CloudTrail", {**record, **more})


def test_a_call_names_who_removed_which_image_even_if_it_named_tags_only() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.deliver(push_event(DEV, digest, "v1.0.0", at=system.clock()))
    removed = {"imageIds": [{"imageDigest": digest, "imageTag": "v1.0.0"}], "failures": []}
    system.registries.delete(DEV, digest)
    system.deliver(cloudtrail("BatchDeleteImage", {"imageIds": [{"imageTag": "v1.0.0"}]}, removed))
    (gone,) = system.facts(Kind.UNTAGGED)
    assert (gone.digest, gone.actor) == (digest, "arn:aws:sts::111111111111:assumed-role/ci/42")


def test_failed_calls_are_not_recorded() -> None:
    system = RecordingStack()
    system.deliver(cloudtrail("DeleteRepository", {}, errorCode="AccessDenied"))
    assert system.ledger.facts == []


def test_a_settings_change_is_notified_with_its_environment() -> None:
    system = RecordingStack()
    call = cloudtrail("PutImageTagMutability", {"imageTagMutability": "MUTABLE"})
    system.deliver(call, call)
    (changed,) = system.facts(Kind.SETTINGS_CHANGED)
    assert (changed.environment, changed.detail["parameters"]["imageTagMutability"]) == ("dev", "MUTABLE")


def test_a_registry_that_does_not_answer_is_a_transient_error() -> None:
    system = RecordingStack()
    digest = system.registries.push(DEV, image("a"), "v1.0.0")
    system.registries.fail(DEV.registry, times=1)
    with pytest.raises(Unreachable):
        system.deliver(push_event(DEV, digest, "v1.0.0"))
    system.deliver(push_event(DEV, digest, "v1.0.0"))
    assert len(system.rows()) == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("no json", "not JSON"),
        ("[]", "not an EventBridge event"),
        (json.dumps({"detail-type": "ECR Image Action"}), "not an EventBridge event"),
        (json.dumps(event("Something Else", {})), "unknown detail-type 'Something Else'"),
        (json.dumps(push_event(DEV, "sha256:short", "v1")), "not a digest"),
        (json.dumps(push_event(DEV, Digest.of(b""), "-bad")), "not a tag"),
        (json.dumps(push_event(DEV, Digest.of(b""), action="EXPLODE")), "EXPLODE"),
        (json.dumps({**push_event(DEV, Digest.of(b"")), "time": "yesterday"}), "not a time"),
        (json.dumps({**push_event(DEV, Digest.of(b"")), "account": "12"}), "not a registry"),
        (json.dumps(scan_event(DEV, Digest.of(b""))), "not for record_push"),
    ],
)
def test_an_invalid_event_is_a_bad_message_with_the_reason(body: str, words: str) -> None:
    system = RecordingStack()
    with pytest.raises(BadMessage, match=words):
        system.process().record.handle(body)
    assert (system.ledger.facts, system.state.items) == ([], {})


def test_the_commit_of_an_image_is_recorded_with_its_push() -> None:
    from support.images import builders as b
    from tallyman.domain.images.provenance import built

    revision = "org.opencontainers.image.revision"
    document = {
        "schemaVersion": 2,
        "config": b.descriptor(b"{}", "application/vnd.oci.image.config.v1+json"),
        "layers": [],
        "annotations": {revision: "3f2a91c", "org.opencontainers.image.authors": "A" * 9000, "other": "x"},
    }
    found = built(b.manifest_of(document))
    assert found == {"revision": "3f2a91c", "authors": "A" * 500}
    document["annotations"] = {"org.opencontainers.image.version": "1.0.0"}
    assert built(b.manifest_of(document)) == {}


def test_the_build_of_an_image_is_recorded_with_its_statement() -> None:
    system = RecordingStack()
    app = image("a")
    found = {
        "tallyman.build.id": "b:1",
        "tallyman.build.url": "https://ci.example/" + "1" * 900,
        "tallyman.build.x": "y",
    }
    made = referrer(app, "application/vnd.in-toto+json", annotations=found)
    nameless = referrer(app, "application/vnd.in-toto+json", "other", {"tallyman.build.person": "mallory"})
    system.registries.push(DEV, app, "v1.0.0")
    for statement in (made, nameless):
        system.registries.push(DEV, statement)
        system.deliver(referrer_event(DEV, statement.digest, at=system.clock()))
    facts = {f.detail["referrer"]: f for f in system.facts(Kind.REFERRED)}
    assert facts[made.digest].digest == app.digest
    assert facts[made.digest].detail["build"] == {"id": "b:1", "url": ("https://ci.example/" + "1" * 900)[:500]}
    assert "build" not in facts[nameless.digest].detail


@pytest.mark.parametrize(
    ("document", "packages"),
    [
        ('{"spdxVersion": "SPDX-2.3", "packages": []}', 0),
        ('{"bomFormat": "CycloneDX", "components": [{"type": "library"}]}', 1),
        ("no SBOM that is known", None),
        ('{"spdxVersion": "SPDX-2.3", "packages": []}' + " " * 256 * 1024, None),  # too large to be read
    ],
)
def test_the_number_of_packages_of_an_sbom_is_recorded(document: str, packages: int | None) -> None:
    system = RecordingStack()
    app = image("a")
    found = sbom(app, document)
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(DEV, found, None)
    system.deliver(referrer_event(DEV, found.digest, "application/spdx+json"))
    (referred,) = system.facts(Kind.REFERRED)
    assert referred.detail.get("packages") == packages


def test_the_packages_of_a_signed_sbom_are_counted_as_those_of_an_unsigned_one() -> None:
    system = RecordingStack()
    app, kind = image("a"), "https://spdx.dev/Document"
    statement = signing.statement(app.digest, kind, {"spdxVersion": "SPDX-2.3", "packages": []})
    made = json.dumps(signing.bundle(signing.envelope(signing.new_key(), statement)))
    notes = {"dev.sigstore.bundle.predicateType": kind}
    found = referrer(app, "application/vnd.dev.sigstore.bundle.v0.3+json", made, notes)
    system.registries.push(DEV, app, "v1.0.0")
    system.registries.push(DEV, found, None)
    system.deliver(referrer_event(DEV, found.digest, "application/vnd.dev.sigstore.bundle.v0.3+json"))
    (referred,) = system.facts(Kind.REFERRED)
    assert referred.detail["packages"] == 0


@pytest.mark.parametrize("method", ["manifest", "manifests"])
def test_a_push_into_a_repository_that_is_deleted_meanwhile_is_recorded(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    system = RecordingStack()
    built = multi_arch("a", attested=True)
    system.registries.push(DEV, built, "v1.0.0")
    dropped_before(monkeypatch, system.registries, method, DEV)
    system.deliver(push_event(DEV, built.digest, "v1.0.0", at=system.clock()))
    assert [fact.digest for fact in system.facts(Kind.PUSHED)] == [built.digest]
    assert system.points_to("v1.0.0") is None
