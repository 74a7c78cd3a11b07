"""Signatures, statements and the order of versions: what exists, and where it must exist."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from support.fakes.gate_cases import APP, LATER, case_of, image_of, judged, released, without
from support.images.builders import DEV, NOON, PROD, SBOM, SIGNATURE, digest_of, fact, pushed
from tallyman.domain.gates import FAILED, PASSED, WAITING
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, Repository

NOTATION = "application/vnd.cncf.notary.signature"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PROFILE = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/release_2026"
CHILD, OTHER = digest_of("amd64"), digest_of("arm64")


def refers(
    kind: str, *predicates: str, digest: Digest = APP, place: Repository = DEV, referrer: str = "referrer"
) -> Fact:
    detail: dict[str, Any] = {"referrer": digest_of(referrer), "artifact_type": kind, "predicates": list(predicates)}
    return replace(fact(Kind.REFERRED, digest, **detail), detail={**detail, "repository": str(place)})


def signing(*statuses: tuple[str, str], place: Repository = DEV, minutes: int = 0) -> Fact:
    listed = [
        {"profile": p, "status": s, "reason": "ACCESS_DENIED: no" if s == "failed" else None} for p, s in statuses
    ]
    return fact(Kind.SIGNING, APP, place, statuses=listed, at=NOON + timedelta(minutes=minutes))


def test_without_a_signature_it_waits_for_one() -> None:
    result = judged("signed", case_of(gates={"signed": True}))
    assert (result.verdict, result.reason) == (WAITING, "no signature yet")
    assert judged("signed", case_of(gates={"signed": False})).verdict == PASSED


@pytest.mark.parametrize("kind", [NOTATION, SIGNATURE, BUNDLE])
def test_a_signature_that_refers_to_the_image_passes(kind: str) -> None:
    result = judged("signed", case_of(refers(kind), gates={"signed": True}))
    assert result.verdict == PASSED
    assert result.facts["signatures"] == [{"digest": digest_of("referrer"), "type": kind}]


def test_other_referrers_and_signatures_in_other_repositories_do_not_count() -> None:
    others = [refers(SBOM), refers(BUNDLE, "https://slsa.dev/provenance/v1"), refers(NOTATION, place=PROD)]
    assert judged("signed", case_of(*others, gates={"signed": True})).verdict == WAITING


def test_ecrs_managed_signing_passes_once_it_completed() -> None:
    gates = {"signed": True}
    started, done = signing((PROFILE, "in_progress")), signing((PROFILE, "complete"), minutes=1)
    waiting = judged("signed", case_of(started, gates=gates))
    assert (waiting.verdict, waiting.reason) == (WAITING, "ECR is signing it")
    passed = judged("signed", case_of(started, done, gates=gates))
    assert (passed.verdict, passed.reason) == (PASSED, "ECR has signed it with release_2026")


def test_failed_managed_signing_fails_the_gate_with_its_reason() -> None:
    result = judged("signed", case_of(signing((PROFILE, "failed")), gates={"signed": True}))
    assert (result.verdict, result.reason) == (FAILED, "ECR could not sign it: ACCESS_DENIED: no")


@pytest.mark.parametrize("by", ["release_*", PROFILE, "arn:aws:signer:*:111111111111:/signing-profiles/*"])
def test_only_named_profiles_count(by: str) -> None:
    gates = {"signed": {"by": [by]}}
    assert judged("signed", case_of(signing((PROFILE, "complete")), gates=gates)).verdict == PASSED
    other = judged("signed", case_of(signing((PROFILE.replace("release", "test").replace("111", "999"), "complete")),
                                     gates=gates))  # fmt: skip
    assert other.verdict == FAILED
    assert f"only {by} counts" in other.reason


def test_an_unverified_signature_does_not_replace_a_profile() -> None:
    result = judged("signed", case_of(refers(NOTATION), gates={"signed": {"by": ["release_*"]}}))
    assert result.verdict == WAITING
    assert result.reason.startswith("a signature is there, but ECR does not report whose")


def test_an_index_counts_as_signed_if_each_of_its_images_is() -> None:
    one = {CHILD: (refers(NOTATION, digest=CHILD),), OTHER: ()}
    image = without(image_of(), platforms=one)
    assert judged("signed", case_of(image=image, gates={"signed": True})).verdict == WAITING
    both = {**one, OTHER: (refers(NOTATION, digest=OTHER),)}
    assert judged("signed", case_of(image=without(image, platforms=both), gates={"signed": True})).verdict == PASSED


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("sbom", refers(SBOM)),
        ("sbom", refers("application/vnd.cyclonedx+json")),
        ("sbom", refers("application/vnd.in-toto+json", "https://spdx.dev/Document/v2.3")),
        ("provenance", refers(BUNDLE, "https://slsa.dev/provenance/v1")),
        ("application/vnd.acme.*", refers("application/vnd.acme.tests+json")),
        (["sbom"], refers(SBOM)),
    ],
)
def test_a_statement_of_the_required_type_passes(wanted: object, found: Fact) -> None:
    gates = {"attested": wanted}
    assert judged("attested", case_of(gates=gates)).verdict == WAITING
    assert judged("attested", case_of(found, gates=gates)).verdict == PASSED


def test_every_required_type_must_exist() -> None:
    result = judged("attested", case_of(refers(SBOM), gates={"attested": ["sbom", "provenance"]}))
    assert (result.verdict, result.reason) == (WAITING, "no provenance yet")
    assert result.facts["sbom"] == [digest_of("referrer")]


def test_a_statement_in_another_repository_does_not_count() -> None:
    assert judged("attested", case_of(refers(SBOM, place=PROD), gates={"attested": "sbom"})).verdict == WAITING


def test_an_index_counts_as_attested_if_each_platform_is_and_missing_ones_are_named() -> None:
    listed = [{"digest": CHILD, "platform": "linux/amd64"}, {"digest": OTHER, "platform": "linux/arm64"}]
    push = pushed(APP, "v1.0.0", index=True, platforms=listed)
    one = {CHILD: (refers(SBOM, digest=CHILD),), OTHER: ()}
    image = without(image_of(push), platforms=one)
    result = judged("attested", case_of(image=image, gates={"attested": "sbom"}))
    assert (result.verdict, result.reason) == (WAITING, "no sbom yet of linux/arm64")
    both = {**one, OTHER: (refers(SBOM, digest=OTHER),)}
    assert (
        judged("attested", case_of(image=without(image, platforms=both), gates={"attested": "sbom"})).verdict == PASSED
    )


RUNS = digest_of("runs")


@pytest.mark.parametrize(
    ("tag", "runs", "verdict"),
    [
        ("v1.1.0", "v1.0.0", PASSED),
        ("v1.0.0", "v1.1.0", FAILED),
        ("v1.10.0", "v1.9.0", PASSED),
        ("v2.0.0-rc.1", "v2.0.0", FAILED),
        ("v1.0.1-abc1234", "v1.0.0", PASSED),
        ("v1.0.0-abc1234", "v1.0.1", FAILED),
    ],
)
def test_a_version_older_than_the_release_fails(tag: str, runs: str, verdict: str) -> None:
    image = image_of(tag=tag, released=released(RUNS, runs))
    result = judged("order", case_of(image=image, gates={"order": True}, tags=(tag,)))
    assert result.verdict == verdict
    assert f"{tag} is {'newer' if verdict == PASSED else 'older'} than {runs}, which prod runs" in result.reason
    assert judged("order", case_of(image=image, gates={"order": False}, tags=(tag,))).verdict == PASSED


@pytest.mark.parametrize(("minutes", "verdict"), [(-1, PASSED), (0, PASSED), (1, FAILED)])
def test_equal_versions_are_ordered_by_their_first_push(minutes: int, verdict: str) -> None:
    runs = released(RUNS, "v1.0.0-abc1234", first_push=NOON + timedelta(minutes=minutes))
    image = image_of(tag="v1.0.0-def5678", released=runs)
    assert judged("order", case_of(image=image, gates={"order": True}, tags=("v1.0.0-def5678",))).verdict == verdict


def test_the_current_release_and_the_first_one_pass() -> None:
    gates = {"order": True}
    assert judged("order", case_of(gates=gates)).reason == "prod runs nothing of rocketseat/widget-server yet"
    same = image_of(released=released(APP, "v9.0.0"))
    assert judged("order", case_of(image=same, gates=gates)).verdict == PASSED


def test_unknown_data_about_the_release_keeps_the_gate_closed() -> None:
    gates = {"order": True}
    assert judged("order", case_of(image=image_of(released={}), gates=gates)).verdict == WAITING
    unknown = image_of(tag="latest", released=released(RUNS, "v1.0.0", first_push=None))
    result = judged("order", case_of(image=unknown, gates=gates, tags=("latest",)))
    assert result.verdict == WAITING
    assert "is not known" in result.reason


def test_the_first_push_not_the_newest_determines_the_age() -> None:
    again = pushed(APP, "v1.0.0", at=LATER + timedelta(days=3))
    image = image_of(again, tag="stable", released=released(RUNS, "stable", first_push=NOON))
    assert judged("order", case_of(image=image, gates={"order": True}, tags=("stable",))).verdict == PASSED


def test_an_sbom_without_packages_does_not_count_and_is_named() -> None:
    def sbom(packages: int | None) -> Fact:
        found = refers(SBOM)
        return found if packages is None else replace(found, detail={**found.detail, "packages": packages})

    gates = {"attested": ["sbom"]}
    empty = judged("attested", case_of(sbom(0), gates=gates))
    assert (empty.verdict, empty.reason) == (WAITING, "the SBOM names no package")
    assert judged("attested", case_of(sbom(None), gates=gates)).verdict == PASSED
    assert judged("attested", case_of(sbom(3), gates=gates)).verdict == PASSED
    by_type = judged("attested", case_of(sbom(0), gates={"attested": [SBOM]}))
    assert by_type.verdict == PASSED  # the policy asks for its type, so it counts
