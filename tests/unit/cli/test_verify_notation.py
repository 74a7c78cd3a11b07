"""verify_origin and the gate `signed` with Notation's signatures: envelopes in a registry, facts, and decisions."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.fakes.cli_stack import FakeStack
from support.fakes.origin import Origin
from support.images import notary
from support.images.builders import signed_by_notation
from support.images.notary import COSE, JWS, Issuer, Signing, signer
from support.images.signing import NOW
from tallyman.adapters.files.policy_file import TRUST_STORES
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.history.details.referrers import Origin as OriginDetails
from tallyman.errors import NotAllowed
from tallyman.ports.signatures import SignerJob

SUBJECT = "C=US, ST=WA, O=Rocketseat, CN=release"
AT = NOW - timedelta(days=1)
LONG = (NOW - timedelta(days=3000), NOW + timedelta(days=3000))


class Signer:
    """AWS Signer: the revocations, or the reason why it does not answer."""

    def __init__(self) -> None:
        self.revoked_now: list[str] = []
        self.asked: list[SignerJob] = []
        self.closed = False

    def revoked(self, job: SignerJob) -> Sequence[str]:
        if self.closed:
            raise NotAllowed("ask whether it was revoked: not allowed")
        self.asked.append(job)
        return self.revoked_now


class Notation:
    """An authority beside the policy, and a stack that trusts it."""

    def __init__(self, system: FakeStack, folder: Path) -> None:
        self.origin, self.folder = Origin(system, folder), folder
        self.root = Issuer(valid=LONG)
        self.signer = Signer()
        system.revocations = self.signer
        self.trust(self.root)

    def trust(self, *roots: Issuer) -> None:
        for name in TRUST_STORES[:2]:
            (self.folder / name).write_bytes(b"".join(each.pem for each in roots))
        self.origin.system.signatures = OriginSignatures(self.folder)
        self.origin.deploys()

    def attach(self, kind: str = JWS, **bent: Any) -> None:
        by = bent.pop("by", None) or signer(self.root, valid=LONG)
        root = self.origin.app.root
        target = {"mediaType": root.media_type, "size": len(root.raw)}
        headers = bent.pop("headers", {})
        made = Signing(
            **{"digest": root.digest, "by": by, "above": (self.root,), "target": target, "headers": headers, **bent}
        )
        self.origin.attach(signed_by_notation(self.origin.app, kind, made.envelope(kind)))

    def by_profile(self) -> None:
        headers = {notary.SCHEME: "notary.x509.signingAuthority", notary.AUTHENTIC: AT, **notary.BY_SIGNER}
        self.attach(headers=headers)

    @property
    def details(self) -> list[OriginDetails]:
        return [OriginDetails.parse(fact) for fact in self.origin.facts]


@pytest.fixture
def notation(everywhere: FakeStack, tmp_path: Path) -> Notation:
    return Notation(everywhere, tmp_path)


@pytest.mark.parametrize("kind", [JWS, COSE])
def test_a_signature_by_a_subject_of_the_policy_opens_the_gate_and_names_it(notation: Notation, kind: str) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"subject": SUBJECT}]})
    assert origin.gate == ("waiting", "no signature yet")
    notation.attach(kind)
    assert origin.went()
    assert origin.gate == ("passed", "signed by CN=release,O=Rocketseat,ST=WA,C=US")
    (result,) = notation.details
    assert (result.verdict, result.form, result.looked) == ("verified", "notation", [SUBJECT])
    assert result.identity is not None
    assert set(result.identity) == {"subject", "root"}


def test_invalid_signatures_open_nothing_and_are_named(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"subject": SUBJECT}]})
    evil = Issuer(valid=LONG)
    notation.attach(by=signer(evil, valid=LONG), above=(evil,))
    notation.attach(by=signer(notation.root, valid=LONG, organization="Evil"))
    notation.attach(COSE, digest=f"sha256:{'b' * 64}")
    notation.attach(headers={"acme": "1"})
    verdict, reason = origin.gate
    assert (verdict, origin.went()) == ("failed", False)
    for part in (
        "does not lead to a trusted root",
        "signed by CN=release,O=Evil,ST=WA,C=US, whom the policy does not name",
        "of another digest",
        "acme is not understood",
    ):
        assert part in reason
    notation.attach()
    verdict, reason = origin.gate
    assert (verdict, reason.count("sha256:")) == ("passed", 4)


def test_the_current_policy_decides_and_a_new_signer_waits(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"subject": SUBJECT}]})
    notation.attach()
    (result,) = notation.details
    root = (result.identity or {})["root"]
    origin.asks({"notation": [{"subject": SUBJECT, "root": root}]})
    assert origin.gate[0] == "passed"
    origin.asks({"notation": [{"subject": SUBJECT, "root": f"sha256:{'0' * 64}"}]})
    assert origin.gate[0] == "failed"
    origin.asks({"notation": [{"subject": "C=US, ST=WA, O=Rocketseat, CN=other"}]})
    assert origin.gate == ("waiting", "1 signature not verified yet with the present keys and roots")
    origin.ask()
    assert origin.gate[0] == "failed"


def test_a_removed_root_no_longer_counts(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"subject": SUBJECT}]})
    notation.attach()
    assert origin.gate[0] == "passed"
    notation.trust(Issuer(valid=LONG))
    assert origin.gate == ("waiting", "1 signature not verified yet with the present keys and roots")
    assert origin.ask().startswith("1 signature verified")
    assert origin.gate[0] == "failed"
    notation.trust(notation.root)
    origin.ask()
    assert origin.gate[0] == "passed"
    assert origin.ask().startswith("0 signatures verified")


def test_an_expired_verification_is_repeated(notation: Notation) -> None:
    origin, clock = notation.origin, notation.origin.system.clock
    origin.asks({"notation": [{"subject": SUBJECT}]})
    notation.attach(headers={notary.EXPIRY: clock().replace(microsecond=0) + timedelta(hours=2)})
    assert origin.gate[0] == "passed"
    origin.system.clock.advance(seconds=3 * 3600)
    assert origin.gate[0] == "waiting"
    origin.ask()
    assert origin.gate[0] == "failed"
    assert "the signature expired" in origin.gate[1]


def test_a_profile_of_aws_signer_counts_while_it_is_not_revoked(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"profile": notary.PROFILE}]})
    notation.by_profile()
    assert origin.gate == ("passed", f"signed by profile {notary.VERSION}")
    (job,) = notation.signer.asked
    assert (job.profile, job.job, job.at, len(job.certificates)) == (notary.VERSION, notary.JOB, AT, 2)
    origin.asks({"notation": [{"profile": notary.VERSION}]})
    origin.ask()
    assert origin.gate[0] == "passed"
    origin.asks({"notation": [{"profile": f"{notary.PROFILE}/OLD"}]})
    origin.ask()
    assert origin.gate[0] == "failed"


def test_the_revocation_status_is_read_again_after_a_day(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"profile": notary.PROFILE}]})
    notation.by_profile()
    assert origin.gate[0] == "passed"
    notation.signer.revoked_now = [notary.JOB]
    origin.system.clock.advance(seconds=25 * 3600)
    assert origin.gate[0] == "waiting"
    origin.ask()
    verdict, reason = origin.gate
    assert (verdict, f"AWS Signer has revoked {notary.JOB}" in reason) == ("failed", True)


def test_without_an_answer_of_aws_signer_the_gate_waits(notation: Notation) -> None:
    origin = notation.origin
    notation.signer.closed = True
    origin.asks({"notation": [{"profile": notary.PROFILE}]})
    notation.by_profile()
    assert origin.gate[0] == "waiting"
    assert "not allowed" in origin.ask()
    notation.signer.closed = False
    origin.ask()
    assert origin.gate[0] == "passed"


def test_a_subject_is_not_a_profile_and_a_new_profiles_revocation_is_read(notation: Notation) -> None:
    origin = notation.origin
    origin.asks({"notation": [{"subject": SUBJECT}]})
    notation.by_profile()
    assert origin.gate[0] == "failed"
    assert not notation.signer.asked
    notation.signer.revoked_now = [notary.VERSION]
    origin.asks({"notation": [{"subject": SUBJECT}, {"profile": notary.PROFILE}]})
    assert origin.gate[0] == "waiting"
    origin.ask()
    assert origin.gate[0] == "failed"
