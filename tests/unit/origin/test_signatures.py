"""Signatures over bytes: what is valid, and every forgery that we know of."""

import base64
import copy
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from support.images import signing
from support.images.signing import NOW, Authority, PrivateKey, Rekor, Sigstore, new_key
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.names import Digest
from tallyman_origin import Identity, NotValid, Trust, verify_bundle, verify_simple_signing
from tallyman_origin.documents import LARGEST
from tallyman_origin.keys import from_der, from_pem
from tallyman_origin.roots import Roots

IMAGE = f"sha256:{'a' * 64}"
OTHER = f"sha256:{'b' * 64}"
VECTORS = Path(__file__).parent / "vectors"
KINDS: dict[str, Callable[[], PrivateKey]] = {
    "p256": new_key,
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
}


def trusting(*keys: PrivateKey, roots: Roots | None = None) -> Trust:
    return Trust({f"key {n}": from_pem(signing.pem(key)) for n, key in enumerate(keys)}, roots)


def roots_of(sigstore: Sigstore) -> Roots:
    return Roots.parse(signing.raw(sigstore.roots))


def refused(bundle: object, trust: Trust, image: str = IMAGE) -> str:
    with pytest.raises(NotValid) as raised:
        verify_bundle(image, signing.raw(bundle), trust)
    return str(raised.value)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_key_that_is_allowed_signs_in_both_forms(kind: str) -> None:
    key, other = KINDS[kind](), new_key()
    payload = signing.payload(IMAGE)
    found = verify_simple_signing(IMAGE, payload, signing.simple(key, payload), trusting(other, key))
    assert (found.keys, found.identity, found.at) == (("key 1",), None, None)
    bundle = signing.bundle(signing.envelope(key, signing.statement(IMAGE)))
    assert verify_bundle(IMAGE, signing.raw(bundle), trusting(other, key)).keys == ("key 1",)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), "an RSA key of 1024 bits is not allowed"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), "the curve secp256k1 is not allowed"),
        (lambda: ec.generate_private_key(ec.SECP224R1()), "the curve secp224r1 is not allowed"),
        (lambda: ec.generate_private_key(ec.SECP521R1()), "the curve secp521r1 is not allowed"),
    ],
)
def test_unsupported_keys_are_refused(key: Callable[[], PrivateKey], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_pem(signing.pem(key()))


@pytest.mark.parametrize(
    "der",
    [
        "3024301006072a8648ce3d020106052b81040006031000040000000000000000000000000000",  # EC on secp112r1
        "3010300a06082a811ccf5501822d03020004",  # SM2, a kind of key that KMS has in China
    ],
)
def test_a_key_of_a_kind_that_the_library_lacks_is_refused_and_keeps_no_other_from_verifying(der: str) -> None:
    with pytest.raises(ValueError, match="is not allowed"):
        from_der(bytes.fromhex(der))
    unknown = f"-----BEGIN PUBLIC KEY-----\n{signing.b64(bytes.fromhex(der))}\n-----END PUBLIC KEY-----\n"
    key = new_key()
    bundle = signing.raw(signing.bundle(signing.envelope(key, signing.statement(IMAGE))))
    checked = OriginSignatures(VECTORS).bundle(Digest(IMAGE), bundle, {"unknown": unknown, "mine": signing.pem(key)})
    assert checked.keys == ("mine",)


def test_a_signature_of_another_digest_by_the_right_key_does_not_count() -> None:
    key = new_key()
    payload = signing.payload(OTHER)
    with pytest.raises(NotValid, match="it is a signature of another digest"):
        verify_simple_signing(IMAGE, payload, signing.simple(key, payload), trusting(key))
    bundle = signing.bundle(signing.envelope(key, signing.statement(OTHER)))
    assert refused(bundle, trusting(key)) == "it is a signature of another digest"


def test_a_payload_that_was_changed_after_it_was_signed_does_not_count() -> None:
    key = new_key()
    annotations = signing.simple(key, signing.payload(OTHER))
    with pytest.raises(NotValid, match="by none of the keys"):
        verify_simple_signing(IMAGE, signing.payload(IMAGE), annotations, trusting(key))
    dsse = signing.envelope(key, signing.statement(OTHER))
    dsse["payload"] = signing.b64(signing.statement(IMAGE))
    assert "by none of the keys" in refused(signing.bundle(dsse), trusting(key))


def test_a_key_removed_from_the_policy_no_longer_counts() -> None:
    key, payload = new_key(), signing.payload(IMAGE)
    for trust, why in ((trusting(new_key()), "by none of the keys"), (Trust(), "the policy names no keys")):
        with pytest.raises(NotValid, match=why):
            verify_simple_signing(IMAGE, payload, signing.simple(key, payload), trust)


@pytest.mark.parametrize("critical", [{"type": "atomic container signature"}, {"image": {}}, {"image": [IMAGE]}])
def test_a_payload_of_another_type_is_refused(critical: dict[str, Any]) -> None:
    key, payload = new_key(), signing.payload(IMAGE, **critical)
    with pytest.raises(NotValid):
        verify_simple_signing(IMAGE, payload, signing.simple(key, payload), trusting(key))


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"{" + b" " * LARGEST + b"}", "bytes, more than"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b'{"critical": {}, "critical": {}}', "a key is there twice"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_huge_nested_and_invalid_payloads_are_refused(payload: bytes, why: str) -> None:
    key = new_key()
    with pytest.raises(NotValid, match=why):
        verify_simple_signing(IMAGE, payload, signing.simple(key, payload), trusting(key))
    with pytest.raises(NotValid, match=why):
        verify_bundle(IMAGE, payload, trusting(key))


@pytest.mark.parametrize("predicate", ["https://slsa.dev/provenance/v1", "", "None"])
def test_a_statement_about_the_image_is_marked_as_one(predicate: str) -> None:
    key = signing.new_key()
    made = signing.bundle(signing.envelope(key, signing.statement(IMAGE, predicate)))
    found = verify_bundle(IMAGE, signing.raw(made), trusting(key))
    assert found.predicate == (predicate, {})
    signature = signing.bundle(signing.envelope(key, signing.statement(IMAGE)))
    assert verify_bundle(IMAGE, signing.raw(signature), trusting(key)).predicate is None


def test_the_type_of_the_payload_is_signed_too() -> None:
    key = new_key()
    dsse = signing.envelope(key, signing.statement(IMAGE), "application/x")
    dsse["payloadType"] = signing.IN_TOTO
    assert "by none of the keys" in refused(signing.bundle(dsse), trusting(key))


def test_a_keyless_signature_has_identity_and_time() -> None:
    sigstore = Sigstore()
    for proof in (True, False):
        bundle = sigstore.bundle(IMAGE, proof=proof)
        found = verify_bundle(IMAGE, signing.raw(bundle), Trust({}, roots_of(sigstore)))
        assert (found.identity, found.at) == (Identity(signing.ISSUER, signing.SUBJECT), NOW)


def test_a_certificate_in_the_tag_scheme_verifies_with_the_logs_promise() -> None:
    sigstore, key, payload = Sigstore(), new_key(), signing.payload(IMAGE)
    leaf = sigstore.between.leaf(key)
    pem = leaf.public_bytes(serialization.Encoding.PEM)
    annotations = signing.simple(key, payload)
    body = {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}},
            "signature": {
                "content": annotations["dev.cosignproject.cosign/signature"],
                "publicKey": {"content": signing.b64(pem)},
            },
        },
    }
    entry = sigstore.log.logged(signing.raw(body), NOW, proof=False)
    result = {
        "SignedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
        "Payload": {
            "body": entry["canonicalizedBody"],
            "integratedTime": int(entry["integratedTime"]),
            "logIndex": 7,
            "logID": sigstore.log.id.hex(),
        },
    }
    annotations |= {"dev.sigstore.cosign/certificate": pem.decode(), "dev.sigstore.cosign/bundle": json.dumps(result)}
    trust = Trust({}, roots_of(sigstore))
    assert verify_simple_signing(IMAGE, payload, annotations, trust).identity == Identity(
        signing.ISSUER, signing.SUBJECT
    )
    result["Payload"]["integratedTime"] += 60
    annotations["dev.sigstore.cosign/bundle"] = json.dumps(result)
    with pytest.raises(NotValid, match="promise is not signed by the log"):
        verify_simple_signing(IMAGE, payload, annotations, trust)
    for lacking in ("certificate", "bundle"):
        rest = {k: v for k, v in annotations.items() if not k.endswith(lacking)}
        with pytest.raises(NotValid):
            verify_simple_signing(IMAGE, payload, rest, trust)
    with pytest.raises(NotValid, match="the certificate"):
        verify_simple_signing(IMAGE, payload, {**annotations, "dev.sigstore.cosign/certificate": ""}, trust)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"at": NOW + timedelta(minutes=30)}, "the certificate had expired"),
        ({"at": NOW - timedelta(minutes=30)}, "the certificate was not valid yet"),
        ({"issuer": None}, "names no issuer"),
        ({"subject": ""}, "not name exactly one subject"),
        ({"usages": [ExtendedKeyUsageOID.SERVER_AUTH]}, "not for signing code"),
    ],
)
def test_invalid_certificates_do_not_count(changed: dict[str, Any], why: str) -> None:
    sigstore = Sigstore()
    assert why in refused(sigstore.bundle(IMAGE, **changed), Trust({}, roots_of(sigstore)))


def test_issuer_and_subject_come_from_the_certificate_only() -> None:
    sigstore = Sigstore()
    bundle = sigstore.bundle(IMAGE, issuer="https://evil.example.com")
    found = verify_bundle(IMAGE, signing.raw(bundle), Trust({}, roots_of(sigstore)))
    assert found.identity == Identity("https://evil.example.com", signing.SUBJECT)


def test_an_incomplete_or_unrelated_chain_does_not_count() -> None:
    sigstore, other = Sigstore(), Sigstore()
    bundle = sigstore.bundle(IMAGE)
    cut = copy.deepcopy(sigstore.roots)
    del cut["certificateAuthorities"][0]["certChain"]["certificates"][0]
    elsewhere = {**other.roots, "tlogs": sigstore.roots["tlogs"]}
    none = {**sigstore.roots, "certificateAuthorities": []}
    for roots in (cut, elsewhere, none):
        trust = Trust({}, Roots.parse(signing.raw(roots)))
        assert "does not lead to a trusted root" in refused(bundle, trust)


def test_an_invalid_or_expired_authority_issues_nothing() -> None:
    for between in (
        {"ca": False},
        {"valid": (NOW - timedelta(days=9), NOW - timedelta(days=1))},
        {"valid": (NOW + timedelta(days=1), NOW + timedelta(days=9))},
    ):
        sigstore = Sigstore()
        sigstore.between = Authority("between", sigstore.root, **between)
        assert "does not lead" in refused(sigstore.bundle(IMAGE), Trust({}, roots_of(sigstore)))


def test_a_root_counts_only_for_its_time() -> None:
    sigstore = Sigstore()
    roots = copy.deepcopy(sigstore.roots)
    ended = {"start": "2020-01-01T00:00:00Z", "end": "2026-11-01T00:00:00Z"}
    roots["certificateAuthorities"][0]["validFor"] = ended
    assert "does not lead" in refused(sigstore.bundle(IMAGE), Trust({}, Roots.parse(signing.raw(roots))))


def test_without_a_proof_of_the_log_or_without_roots_an_identity_does_not_count() -> None:
    sigstore = Sigstore()
    trust = Trust({}, roots_of(sigstore))
    bundle = sigstore.bundle(IMAGE)
    assert "there are no trust roots" in refused(bundle, Trust())
    material = bundle["verificationMaterial"]
    (entry,) = material["tlogEntries"]
    unpromised = {k: v for k, v in entry.items() if k != "inclusionPromise"}
    unproved = {k: v for k, v in unpromised.items() if k != "inclusionProof"}
    for entries, why in (
        ([], "no log entry proves the time"),
        ([unproved], "neither a proof of inclusion"),
        ([unpromised], "has signed the time"),
        ([entry, entry], "several log entries"),
    ):
        changed = {**bundle, "verificationMaterial": {**material, "tlogEntries": entries}}
        assert why in refused(changed, trust)


def bent(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def bend(entry: dict[str, Any]) -> None:
        *way, last = path.split(".")
        for key in way:
            entry = entry[key]
        entry[last] = value

    return bend


@pytest.mark.parametrize(
    ("bend", "why"),
    [
        (bent("inclusionProof.logIndex", "0"), "proof of inclusion is wrong"),
        (bent("inclusionProof.logIndex", "9"), "malformed"),
        (bent("inclusionProof.hashes", []), "too short"),
        (bent("inclusionProof.treeSize", "2"), "too long"),
        (bent("inclusionProof.rootHash", signing.b64(b"x" * 32)), "proof of inclusion is wrong"),
        (bent("inclusionProof.checkpoint.envelope", "x\n3\nAA==\n\n"), "another state"),
        (bent("inclusionProof.checkpoint", {}), "no checkpoint"),
        (bent("inclusionPromise.signedEntryTimestamp", signing.b64(b"x")), "promise is not signed"),
        (bent("integratedTime", str(int(NOW.timestamp()) + 1)), "promise is not signed"),
        (bent("logIndex", "8"), "promise is not signed"),
        (bent("logId.keyId", signing.b64(b"x" * 32)), "a log that is not trusted"),
        (bent("canonicalizedBody", signing.b64(b"{}")), "proof of inclusion is wrong"),
    ],
)
def test_altered_log_entries_are_refused(bend: Callable[[dict[str, Any]], None], why: str) -> None:
    sigstore = Sigstore()
    bundle = sigstore.bundle(IMAGE)
    bend(bundle["verificationMaterial"]["tlogEntries"][0])
    assert why in refused(bundle, Trust({}, roots_of(sigstore)))


def test_a_checkpoint_that_another_log_has_signed_does_not_count() -> None:
    sigstore = Sigstore()
    bundle = sigstore.bundle(IMAGE)
    entry = bundle["verificationMaterial"]["tlogEntries"][0]
    entry["inclusionProof"] = Rekor().proof(base64.b64decode(entry["canonicalizedBody"]))
    assert "the checkpoint is not signed by the log" in refused(bundle, Trust({}, roots_of(sigstore)))


def test_the_log_entry_of_another_signature_or_another_signer_does_not_count() -> None:
    sigstore = Sigstore()
    trust = Trust({}, roots_of(sigstore))
    one, two = sigstore.bundle(IMAGE), sigstore.bundle(IMAGE)
    one["verificationMaterial"]["tlogEntries"] = two["verificationMaterial"]["tlogEntries"]
    assert "of another signature" in refused(one, trust)
    key = new_key()
    dsse = signing.envelope(key, signing.statement(IMAGE))
    mine, other = sigstore.between.leaf(key), sigstore.between.leaf(key, subject="https://other.example.com")
    entries = [sigstore.log.entry(dsse, other)]
    bundle = signing.bundle(dsse, certificate={"rawBytes": signing.der(mine)}, tlogEntries=entries)
    assert "of another signer" in refused(bundle, trust)


def test_a_certificate_of_another_key_does_not_count() -> None:
    sigstore = Sigstore()
    dsse, leaf = signing.envelope(new_key(), signing.statement(IMAGE)), sigstore.between.leaf(new_key())
    entries = [sigstore.log.entry(dsse, leaf)]
    bundle = signing.bundle(dsse, certificate={"rawBytes": signing.der(leaf)}, tlogEntries=entries)
    assert "the signature is not the certificate's" in refused(bundle, Trust({}, roots_of(sigstore)))


class TestOthers:
    """Signatures of other tools."""

    vectors = json.loads((VECTORS / "sigstore-js.json").read_text("utf-8"))
    roots = Roots.parse(signing.raw(vectors["roots"]))

    @pytest.mark.parametrize("form", ["statement", "message"])
    def test_bundles_of_sigstores_javascript(self, form: str) -> None:
        found = verify_bundle(self.vectors["image"], signing.raw(self.vectors[form]), Trust({}, self.roots))
        assert found.identity == Identity(self.vectors["iss"], self.vectors["sub"])
        assert found.at is not None
        assert refused(self.vectors[form], Trust({}, self.roots)) == "it is a signature of another digest"

    def test_its_provenance_is_verified_and_is_no_signature(self) -> None:
        made = signing.raw(self.vectors["provenance"])
        found = verify_bundle(self.vectors["image"], made, Trust({}, self.roots))
        assert found.identity is not None
        assert found.predicate is not None
        assert found.predicate[0].startswith("https://slsa.dev/provenance/")

    @pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl here")
    @pytest.mark.parametrize("kind", ["ec", "rsa"])
    def test_a_signature_made_by_openssl(self, kind: str, tmp_path: Path) -> None:
        form = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"] if kind == "ec" else ["-algorithm", "RSA"]
        key, public, payload = tmp_path / "key", tmp_path / "key.pub", tmp_path / "payload"
        payload.write_bytes(signing.payload(IMAGE))

        def openssl(*words: str | Path) -> bytes:
            return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout

        openssl("genpkey", *form, "-out", key)
        openssl("pkey", "-in", key, "-pubout", "-out", public)
        signature = openssl("dgst", "-sha256", "-sign", key, payload)
        annotations = {"dev.cosignproject.cosign/signature": signing.b64(signature)}
        trust = Trust({"k": from_pem(public.read_text("ascii"))})
        assert verify_simple_signing(IMAGE, payload.read_bytes(), annotations, trust).keys == ("k",)
