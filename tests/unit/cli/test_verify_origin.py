"""verify_origin and the gate `signed` together: signatures in a registry, facts, and decisions."""

import copy
import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from support.fakes.cli_stack import POLICY, FakeStack
from support.fakes.origin import Origin
from support.images import signing
from support.images.builders import DEV, Built, cosign, image, multi_arch, referrer
from support.images.notary import Issuer
from support.images.signing import PrivateKey, Sigstore, new_key
from tallyman.adapters.files import policy_file
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.gates.notation import split_roots
from tallyman.domain.gates.signers import SignerKey
from tallyman.domain.history.details.referrers import Origin as OriginDetails
from tallyman.domain.history.facts import Kind
from tallyman.errors import BadMessage, NotAllowed, OutOfTime, PolicyError
from tallyman.services.verification.verify_origin import LARGEST

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
NOTATION = "application/vnd.cncf.notary.signature"


@pytest.fixture
def origin(everywhere: FakeStack, tmp_path: Path) -> Origin:
    return Origin(everywhere, tmp_path)


def keyed(key: PrivateKey, digest: str) -> dict[str, Any]:
    return signing.bundle(signing.envelope(key, signing.statement(digest)))


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_a_signature_by_a_key_of_the_policy_opens_the_gate_and_names_it(origin: Origin, form: str) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    assert origin.gate == ("waiting", "no signature yet")
    assert not origin.went()
    origin.by_tag(key) if form == "tag" else origin.by_bundle(keyed(key, origin.app.digest))
    assert origin.went()
    (fact,) = origin.facts
    fingerprint = SignerKey.parse(signing.pem(key)).name
    result = OriginDetails.parse(fact)
    assert (fact.digest, result.verdict, result.keys) == (origin.app.digest, "verified", [fingerprint])
    assert origin.gate == ("passed", f"signed by key {fingerprint[:19]}")


def test_invalid_and_foreign_signatures_open_nothing_and_are_named(origin: Origin) -> None:
    key, other = new_key(), new_key()
    origin.asks({"keys": [signing.pem(key)]})
    origin.by_bundle(keyed(other, origin.app.digest))
    origin.by_bundle(keyed(key, image("another").digest))
    origin.by_bundle({"mediaType": "x"})
    origin.attach(referrer(origin.app, NOTATION))
    verdict, reason = origin.gate
    assert (verdict, origin.went()) == ("failed", False)
    for part in (
        "by none of the keys",
        "of another digest",
        "an unknown version",
        "the envelope has an unknown type",
    ):
        assert part in reason
    origin.by_tag(key)
    verdict, reason = origin.gate
    assert (verdict, origin.went()) == ("passed", True)
    assert reason.count("sha256:") == 4
    assert "does not count" in reason


@pytest.mark.parametrize(
    "raw", [b'{"mediaType": "\\ud800"}', b'{"mediaType": "\xed\xa0\x80"}', '{"mediaType": "x"}'.encode("utf-16")]
)
def test_text_that_no_fact_can_store_is_refused_and_hides_no_other_signature(origin: Origin, raw: bytes) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    origin.attach(referrer(origin.app, BUNDLE, raw))
    verdict, reason = origin.gate
    assert verdict == "failed"
    assert any(why in reason for why in ("the bundle holds half of a surrogate pair", "the bundle is not JSON"))
    for fact in origin.facts:
        json.dumps(dict(fact.detail), ensure_ascii=False).encode()
    origin.by_tag(key)
    assert origin.gate[0] == "passed"


def test_a_removed_key_no_longer_counts_and_a_new_one_causes_a_verification(origin: Origin) -> None:
    old, new = new_key(), new_key()
    origin.asks({"keys": [signing.pem(old)]})
    origin.by_bundle(keyed(old, origin.app.digest))
    assert origin.gate[0] == "passed"
    origin.asks({"keys": [signing.pem(new)]})
    assert origin.gate == ("waiting", "1 signature not verified yet with the present keys and roots")
    assert origin.ask() == "1 signature verified, 0 checks asked for"
    assert origin.gate[0] == "failed"
    assert origin.ask() == "0 signatures verified, 0 checks asked for"
    origin.asks({"keys": [signing.pem(new), signing.pem(old)]})
    assert origin.gate[0] == "passed"


def test_identities_by_the_roots_beside_the_policy(origin: Origin) -> None:
    sigstore = Sigstore()
    asked = {"issuer": signing.ISSUER, "subject": "https://github.com/rocketseat/widget-server/*"}
    origin.asks({"identities": [asked]})
    origin.by_bundle(sigstore.bundle(origin.app.digest))
    assert origin.gate[0] == "waiting"
    origin.gets(sigstore)
    origin.ask()
    assert origin.gate == ("passed", f"signed by {signing.SUBJECT} ({signing.ISSUER})")
    result = OriginDetails.parse(origin.facts[-1])
    assert result.signed_at == "2026-11-16T12:00:00Z"
    for wrong in ({**asked, "issuer": "https://evil.example.com"}, {**asked, "subject": "https://github.com/evil/*"}):
        origin.asks({"identities": [wrong]})
        assert origin.gate[0] == "failed"
        assert "whom the policy does not name" in origin.gate[1]
    origin.asks({"identities": [asked], "roots": f"sha256:{'0' * 64}"})
    assert origin.gate[0] == "waiting"
    origin.asks({"identities": [asked], "roots": result.roots})
    assert origin.gate[0] == "passed"


def test_a_forged_identity_opens_nothing(origin: Origin) -> None:
    sigstore, evil = Sigstore(), Sigstore()
    origin.gets(sigstore)
    origin.asks({"identities": [{"issuer": signing.ISSUER, "subject": signing.SUBJECT}]})
    bundle = copy.deepcopy(evil.bundle(origin.app.digest))
    origin.by_bundle(bundle)
    origin.by_bundle(sigstore.bundle(image("another").digest))
    assert (origin.gate[0], origin.went()) == ("failed", False)


def test_a_referrer_that_is_too_large_is_not_read(origin: Origin) -> None:
    origin.asks({"keys": [signing.pem(new_key())]})
    origin.attach(referrer(origin.app, BUNDLE, "x" * (LARGEST + 1)))
    assert origin.gate[0] == "failed"
    assert f"more than {LARGEST}" in origin.gate[1]


def test_bytes_with_another_digest_are_no_signature(origin: Origin) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    good, evil = keyed(key, origin.app.digest), keyed(new_key(), origin.app.digest)
    made = referrer(origin.app, BUNDLE, json.dumps(evil))
    origin.system.push(made, None)
    blob = made.root.layers[0].digest
    origin.system.registries.damage(DEV, blob, json.dumps(good).encode())
    origin.ask()
    assert origin.gate[0] == "failed"
    assert "not those that its manifest names" in origin.gate[1]


def test_a_removed_signature_no_longer_counts(origin: Origin) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    made = referrer(origin.app, BUNDLE, json.dumps(keyed(key, origin.app.digest)))
    origin.attach(made)
    assert origin.gate[0] == "passed"
    gone = replace(origin.facts[0], kind=Kind.DELETED, id="gone", digest=made.digest, detail={"gone": True})
    origin.system.ledger.append(replace(gone, at=origin.system.clock()))
    assert origin.gate == ("waiting", "no signature yet")


def test_signatures_by_a_replaced_trust_file_are_verified_again(origin: Origin) -> None:
    old, new = Sigstore(), Sigstore()
    unverified = ("waiting", "1 signature not verified yet with the present keys and roots")
    origin.asks({"identities": [{"issuer": signing.ISSUER, "subject": signing.SUBJECT}]})
    origin.gets(old)
    origin.deploys()
    origin.by_bundle(old.bundle(origin.app.digest))
    assert origin.gate[0] == "passed"
    origin.gets(new)
    origin.deploys()
    assert origin.gate == unverified
    origin.ask()
    assert origin.gate[0] == "failed"
    assert "the log entry is of a log that is not trusted" in origin.gate[1]
    origin.gets(old)
    origin.deploys()
    assert origin.gate[0] == "passed"
    (origin.folder / "trusted_root.json").unlink()
    origin.deploys()
    assert origin.gate == unverified


def test_a_replaced_trust_file_is_a_policy_change_and_releases_are_verified_by_it(origin: Origin) -> None:
    sigstore = Sigstore()
    origin.asks({"identities": [{"issuer": signing.ISSUER, "subject": signing.SUBJECT}]})
    origin.gets(sigstore)
    origin.deploys()
    origin.by_bundle(sigstore.bundle(origin.app.digest))
    assert origin.went()
    file = origin.folder / "trusted_root.json"
    file.write_text(file.read_text() + "\n")  # the same roots in another file
    origin.system.signatures = OriginSignatures(origin.folder)
    origin.deploys()
    assert origin.gate[0] == "waiting"
    problems: list[str] = []
    released = origin.system.services.released
    _, todo = released.watched(lambda place: True, Counter(), problems, asked=False)
    released.carry_out(todo, problems, lambda: 60.0)
    origin.system.work()
    assert problems == []
    assert origin.gate[0] == "passed"


def test_the_policy_includes_the_trust_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "tallyman.yaml").write_text(POLICY)
    assert policy_file.load(tmp_path / "tallyman.yaml").roots is None
    (tmp_path / "trusted_root.json").write_text("{}")
    assert policy_file.load(tmp_path / "tallyman.yaml").roots == OriginSignatures(tmp_path).roots
    (tmp_path / "notation-tsa.pem").write_bytes(Issuer().pem)
    roots, stores = split_roots(policy_file.load(tmp_path / "tallyman.yaml").roots)
    assert roots == f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
    assert stores == OriginSignatures(tmp_path).notation_roots
    (tmp_path / "trusted_root.json").unlink()
    assert split_roots(policy_file.load(tmp_path / "tallyman.yaml").roots) == (None, stores)


def test_a_removed_provenance_no_longer_counts_even_without_signature_gates(origin: Origin) -> None:
    key, kind = new_key(), "https://slsa.dev/provenance/v1"
    origin.asks(None, {"keys": [signing.pem(key)], "by": ["https://ci.example.com"]})
    said = {"buildDefinition": {}, "runDetails": {"builder": {"id": "https://ci.example.com"}}}
    dsse = signing.envelope(key, signing.statement(origin.app.digest, kind, said))
    made = referrer(origin.app, BUNDLE, json.dumps(signing.bundle(dsse)))
    origin.attach(made)
    assert origin.reason("built")[0] == "passed"
    gone = replace(origin.facts[0], kind=Kind.DELETED, id="gone", digest=made.digest, detail={"gone": True})
    origin.system.ledger.append(replace(gone, at=origin.system.clock()))
    assert origin.reason("built") == ("waiting", "no signed provenance yet")


@pytest.mark.parametrize("on", ["index", "platforms"])
def test_an_index_is_signed_itself_or_on_each_of_its_platforms(everywhere: FakeStack, tmp_path: Path, on: str) -> None:
    origin, key = Origin(everywhere, tmp_path, multi_arch("app")), new_key()
    origin.asks({"keys": [signing.pem(key)], "on": on})
    children = [child.digest for child in origin.app.root.platform_children]
    wanted = [origin.app.digest] if on == "index" else children
    others = children if on == "index" else [origin.app.digest]
    for digest in (*others, *wanted):
        assert not origin.went()
        payload = signing.payload(digest)
        origin.attach(cosign(payload, signing.simple(key, payload)), f"sha256-{digest.removeprefix('sha256:')}.sig")
    assert origin.gate[0] == "passed"
    assert origin.went()


def test_without_signers_in_the_policy_nothing_is_read(origin: Origin) -> None:
    asked = len(origin.system.registries.requests)
    assert origin.ask().startswith("ignored")
    assert len(origin.system.registries.requests) == asked


def test_invalid_messages_and_missing_time(origin: Origin) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    for body in ({}, {"verify_origin": {"repository": "x", "digest": "y"}}):
        with pytest.raises(BadMessage):
            origin.handle(body)
    origin.system.push(referrer(origin.app, BUNDLE, json.dumps(keyed(key, origin.app.digest))), None)
    event = {"verify_origin": {"repository": str(DEV), "digest": origin.app.digest}}
    with pytest.raises(OutOfTime):
        origin.handle(event, left=0)


def test_an_unsupported_key_is_named_if_it_would_have_counted(origin: Origin) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    origin.asks({"keys": [signing.pem(weak)]})
    origin.by_bundle(keyed(weak, origin.app.digest))
    assert origin.gate[0] == "failed"
    assert "an RSA key of 1024 bits is not allowed" in origin.gate[1]


@pytest.mark.parametrize(
    ("signed", "wrong"),
    [
        ({"keys": []}, "at least 1"),
        ({"keys": ["arn:aws:kms:us-east-2:111111111111:alias/x"]}, "a public key as PEM"),
        ({"keys": ["-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]}, "a public key as PEM"),
        ({"identities": [{"issuer": "x"}]}, "'subject' is missing"),
        ({"identities": [{"issuer": "x", "subject": "*"}]}, "a subject"),
        ({"keys": [signing.pem(new_key())], "on": "children"}, "index or platforms"),
        ({"keys": [signing.pem(new_key())], "by": ["x"]}, "by"),
    ],
)
def test_invalid_policies_are_refused(origin: Origin, signed: dict[str, Any], wrong: str) -> None:
    with pytest.raises(PolicyError, match=wrong):
        origin.asks(signed)


SLSA = "https://slsa.dev/provenance/v1"
SOURCE = "https://github.com/rocketseat/widget-server"


def provenance(key: PrivateKey, digest: str, ref: str = "refs/heads/main", source: str = SOURCE) -> dict[str, Any]:
    said = json.loads(signing.statement(digest, SLSA))
    external = {"source": source, "ref": ref, "revision": "3f" * 20}
    said["predicate"] = {
        "buildDefinition": {"externalParameters": external},
        "runDetails": {"builder": {"id": "https://github.com/actions/runner"}},
    }
    return signing.bundle(signing.envelope(key, json.dumps(said).encode()))


def attested(origin: Origin, bundle: dict[str, Any], of: Built | None = None) -> None:
    noted = {"dev.sigstore.bundle.predicateType": SLSA}
    origin.attach(referrer(of or origin.app, BUNDLE, json.dumps(bundle), annotations=noted))


BUILT = {"by": ["https://github.com/actions/*"], "from": [f"{SOURCE}.git"], "branch": ["main", "refs/tags/v*"]}


def test_only_a_verified_provenance_of_the_branch_opens_built(origin: Origin) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]}, BUILT)
    assert origin.reason("built") == ("waiting", "no signed provenance yet")
    origin.by_bundle(keyed(key, origin.app.digest))
    attested(origin, provenance(new_key(), origin.app.digest))
    attested(origin, provenance(key, image("another").digest))
    attested(origin, provenance(key, origin.app.digest, ref="refs/heads/main/try"))
    attested(origin, provenance(key, origin.app.digest, ref="main"))
    attested(origin, provenance(key, origin.app.digest, source="https://github.com/evil/widget-server"))
    verdict, reason = origin.reason("built")
    assert (verdict, origin.went()) == ("failed", False)
    for part in (
        "by none of the keys",
        "of another digest",
        "built at refs/heads/main/try, not refs/heads/main",
        "built at (not stated)",
        "built from https://github.com/evil/widget-server, not",
    ):
        assert part in reason
    assert origin.gate == ("passed", f"signed by key {SignerKey.parse(signing.pem(key)).name[:19]}")
    attested(origin, provenance(key, origin.app.digest))
    verdict, reason = origin.reason("built")
    assert (verdict, origin.went()) == ("passed", True)
    commit = "3f" * 6
    assert reason.startswith(
        f"built by https://github.com/actions/runner from {SOURCE} at refs/heads/main ({commit}); "
    )


@pytest.mark.parametrize("predicate", [SLSA, "https://spdx.dev/Document", ""])
def test_a_signed_statement_about_the_image_is_no_signature_of_it(origin: Origin, predicate: str) -> None:
    key = new_key()
    origin.asks({"keys": [signing.pem(key)]})
    origin.by_bundle(signing.bundle(signing.envelope(key, signing.statement(origin.app.digest, predicate))))
    assert origin.gate == ("waiting", "no signature yet")
    assert not origin.went()


def test_built_without_signers_anywhere_is_closed(origin: Origin) -> None:
    origin.asks(None, BUILT)
    attested(origin, provenance(new_key(), origin.app.digest))
    assert origin.reason("built")[0] == "failed"
    assert "nobody whose provenance counts" in origin.reason("built")[1]


def test_built_may_have_its_own_signers(origin: Origin) -> None:
    key = new_key()
    origin.asks(None, {**BUILT, "keys": [signing.pem(key)]})
    attested(origin, provenance(key, origin.app.digest, ref="refs/tags/v1.0.0"))
    assert origin.reason("built")[0] == "passed"
    assert origin.went()


ARN = "arn:aws:kms:us-east-2:111111111111:key/1"


class Kms:
    """Public keys by ARN; a missing one can't be read."""

    def __init__(self, **keys: str) -> None:
        self.keys = keys

    def pem(self, arn: str) -> str:
        try:
            return self.keys[arn.rpartition("/")[2]]
        except KeyError:
            raise NotAllowed(f"read {arn}: not allowed") from None


def test_a_key_of_kms_is_a_signer_by_its_arn(origin: Origin) -> None:
    key = new_key()
    origin.asks({"keys": [ARN]})
    origin.system.public_keys = Kms(**{"1": signing.pem(key)})
    origin.by_bundle(keyed(new_key(), origin.app.digest))
    assert origin.gate[0] == "failed"
    origin.by_bundle(keyed(key, origin.app.digest))
    assert origin.gate[0] == "passed"
    assert origin.gate[1].startswith(f"signed by key {ARN}; does not count")
    assert origin.went()


def test_an_unreadable_kms_key_verifies_nothing_and_is_read_again(origin: Origin) -> None:
    key, other = new_key(), new_key()
    origin.asks({"keys": [ARN, signing.pem(other)]})
    origin.system.public_keys = Kms()
    origin.by_bundle(keyed(key, origin.app.digest))
    assert origin.gate == ("waiting", "1 signature not verified yet with the present keys and roots")
    assert f"the key {ARN} can't be read" in origin.ask()
    origin.system.public_keys = Kms(**{"1": signing.pem(key)})
    origin.ask()
    assert origin.gate[0] == "passed"
    origin.asks({"keys": [ARN.replace("/1", "/2")]})
    assert origin.gate[0] == "waiting"
