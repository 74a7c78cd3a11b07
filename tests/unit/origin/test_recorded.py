"""Attestations that GitHub made and others published, verified by the trust roots of Sigstore's public instance."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.fakes.gate_cases import APP, case_of, judged
from support.images.builders import DEV, digest_of, fact
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.gates import FAILED, PASSED, GateResult
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.signatures import RULES
from tallyman.domain.names import Digest
from tallyman.domain.plain import plain
from tallyman.ports.signatures import CheckedSignature

RECORDED = Path(__file__).parent / "vectors/recorded"
GITHUB = "https://token.actions.githubusercontent.com"
REUSABLE = "reusable-workflow-attestation.sigstore.json"
CUSTOM = "custom-issuer.sigstore.json"
SUBJECTS = {
    REUSABLE: Digest("sha256:49a3aa6075e0f49f82843e74b5baa614ad2a588e6675612bf108a0a008c5ac25"),
    CUSTOM: Digest("sha256:afa27b44d43b02a9fea41d13cedc2e4016cfcf87c5dbf990e593669aa8ce286d"),
}


def check(name: str, image: Digest | None = None, change: Any = None) -> CheckedSignature:
    raw = (RECORDED / name).read_bytes()
    if change is not None:
        bundle = json.loads(raw)
        change(bundle)
        raw = json.dumps(bundle).encode()
    return OriginSignatures(RECORDED).bundle(image or SUBJECTS[name], raw, {})


def built(checked: CheckedSignature, subject: str, issuer: str = GITHUB, **asked: Any) -> GateResult:
    """The gate's result for an image with this attestation."""
    assert checked.identity is not None
    assert checked.claims is not None
    answer = Origin(
        repository=str(DEV),
        referrer=str(digest_of("attestation")),
        signature="1",
        form="bundle",
        verdict="verified",
        identity=checked.identity,
        roots="sha256:1",
        rules=RULES,
        statement=checked.statement,
        claims=plain(checked.claims),
    )
    gate = {"identities": [{"issuer": issuer, "subject": subject}], **asked}
    return judged("built", case_of(replace(fact(Kind.ORIGIN, APP), detail=answer.dump()), gates={"built": gate}))


def test_a_github_artifact_attestation_opens_built() -> None:
    found = check(REUSABLE)
    assert found.reason is None
    workflow = "https://github.com/github/artifact-attestations-workflows/.github/workflows/attest.yml"
    assert found.identity == {"issuer": GITHUB, "subject": f"{workflow}@09b495c3f12c7881b3cc17209a327792065c1a1d"}
    assert (found.statement, found.at) == ("https://slsa.dev/provenance/v1", "2024-05-24T19:14:24Z")
    assert found.claims is not None
    assert plain(found.claims) == {
        "builder": "https://github.com/actions/runner/github-hosted",
        "source": "https://github.com/malancas/attest-demo",
        "ref": "refs/heads/main",
        "commit": "95baf27389e83e6a5c48f42e190d48d7abcea19e",
    }
    asked: dict[str, Any] = {
        "from": ["https://github.com/malancas/attest-demo"],
        "branch": ["main"],
        "by": ["https://github.com/actions/*"],
    }
    assert built(found, f"{workflow}@*", **asked).verdict == PASSED
    assert built(found, f"{workflow}@*", branch=["release"]).verdict == FAILED
    assert (
        built(found, "https://github.com/malancas/*", **asked).verdict == FAILED
    )  # the workflow signs, not its caller


def test_an_enterprise_issuer_is_another_issuer() -> None:
    found = check(CUSTOM)
    assert found.reason is None
    assert found.identity is not None
    issuer, subject = found.identity["issuer"], found.identity["subject"]
    assert issuer == f"{GITHUB}/hammer-time"
    assert built(found, subject, issuer, branch=["main"]).verdict == PASSED
    assert built(found, subject, branch=["main"]).verdict == FAILED


def test_an_attestation_of_another_image_does_not_count() -> None:
    assert check(REUSABLE, SUBJECTS[CUSTOM]).reason == "it is a signature of another digest"
    assert check("sigstore-js-2.1.0-bundle.json", SUBJECTS[CUSTOM]).reason == "it is a signature of another digest"


def _other_time(bundle: Any) -> None:
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1716585668"


def _other_certificate(bundle: Any) -> None:
    other = json.loads((RECORDED / CUSTOM).read_text())
    bundle["verificationMaterial"]["certificate"] = other["verificationMaterial"]["certificate"]


def _other_entry(bundle: Any) -> None:
    other = json.loads((RECORDED / CUSTOM).read_text())
    bundle["verificationMaterial"]["tlogEntries"] = other["verificationMaterial"]["tlogEntries"]


def _other_payload(bundle: Any) -> None:
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"].replace("fQ==", "fSA=")
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "AAAA"


@pytest.mark.parametrize("change", [_other_time, _other_certificate, _other_entry, _other_payload])
def test_a_recorded_attestation_that_was_changed_is_refused(change: Any) -> None:
    assert check(REUSABLE, change=change).reason is not None
