"""Notation's envelopes: made by Notation, made by other libraries, and every forgery we know of."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from joserfc import jws
from joserfc.jwk import ECKey
from joserfc.jws import HeaderDict

from support.images import notary
from support.images.notary import COSE, JWS, LONG, Issuer, Signing, signer
from support.images.signing import NOW, PrivateKey, b64
from tallyman_origin import NotationSignature, NotValid, Stores, Target, verify_notation
from tallyman_origin.documents import LARGEST
from tallyman_origin.envelopes import read

IMAGE, OTHER = (f"sha256:{each * 64}" for each in "ab")
TARGET = Target(IMAGE, notary.MEDIA_TYPE, 528)
ROOT = Issuer()
BETWEEN = Issuer("between", ROOT)
SIGNER = signer(BETWEEN)
ABOVE = (BETWEEN, ROOT)
AUTHORITY = {notary.SCHEME: "notary.x509.signingAuthority", notary.AUTHENTIC: NOW}
KEYS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "PS256": lambda: rsa.generate_private_key(65537, 2048),
    "PS384": lambda: rsa.generate_private_key(65537, 3072),
}
VECTORS = json.loads((Path(__file__).parent / "vectors" / "notation-go.json").read_text("utf-8"))
both = pytest.mark.parametrize("kind", [JWS, COSE])


def trusting(*roots: Issuer) -> Stores:
    found = tuple(each.certificate for each in roots)
    return Stores(found, found)


def made(**bent: Any) -> Signing:
    return Signing(**{"digest": IMAGE, "by": SIGNER, "above": ABOVE, **bent})


def verified(signing: Signing, kind: str, stores: Stores | None = None, now: datetime = NOW) -> NotationSignature:
    return verify_notation(TARGET, kind, signing.envelope(kind), stores or trusting(ROOT), now)


def refused(raw: bytes, kind: str, stores: Stores | None = None, now: datetime = NOW) -> str:
    with pytest.raises(NotValid) as raised:
        verify_notation(TARGET, kind, raw, stores or trusting(ROOT), now)
    return str(raised.value)


@both
@pytest.mark.parametrize("algorithm", KEYS)
def test_each_algorithm_that_is_allowed_verifies_in_both_forms(kind: str, algorithm: str) -> None:
    by = signer(BETWEEN, key=KEYS[algorithm]())
    found = verified(made(by=by, algorithm=algorithm), kind)
    assert found.subject == "CN=release,O=Rocketseat,ST=WA,C=US"
    assert (found.at, found.until, found.job) == (None, LONG[1], None)


def test_an_envelope_of_another_library_verifies() -> None:
    """joserfc makes the JWS."""
    pem = SIGNER.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    signing = made()
    protected: dict[str, object] = {
        "alg": "ES256",
        "cty": notary.PAYLOAD,
        notary.SCHEME: "notary.x509",
        notary.SIGNED_AT: "2026-11-16T12:00:00Z",
    }
    protected["crit"] = [notary.SCHEME]
    registry = jws.JWSRegistry(strict_check_header=False)
    registry.check_header = lambda header: None  # type: ignore[method-assign]  # no headers of Notation
    member: HeaderDict = {"protected": protected, "header": {"x5c": [b64(each) for each in signing.chain]}}
    envelope = jws.serialize_json(member, signing.payload or b"", ECKey.import_key(pem), registry=registry)
    assert verify_notation(TARGET, JWS, json.dumps(envelope).encode(), trusting(ROOT), NOW).at is None


def vector(name: str) -> tuple[Target, str, bytes]:
    raw, kind = base64.b64decode(VECTORS["envelopes"][name]), name.split(" ")[0].strip(",")
    form = JWS if kind == "jws" else COSE
    target = json.loads(read(form, raw).payload)["targetArtifact"]
    return Target(target["digest"], target["mediaType"], target["size"]), form, raw


def root(name: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(VECTORS["roots"][name]))


def test_signatures_of_notation_verify() -> None:
    stores, now = Stores((root("test"),), (root("test"),)), datetime(2026, 11, 30, tzinfo=UTC)
    subject = "CN=Notation Test Root,O=Notary,L=Seattle,ST=WA,C=US"
    found = verify_notation(*vector("jws"), stores, now)
    assert (found.subject, found.at, found.until) == (subject, None, datetime(2120, 11, 9, 7, tzinfo=UTC))
    found = verify_notation(*vector("jws authority"), stores, now)
    assert (found.subject, found.at) == (subject, datetime(2020, 11, 9, 7, tzinfo=UTC))
    for name, why in (("jws expired", "expired at 2022-07-29"), ("jws plugin", "it needs the plugin plugin-name")):
        with pytest.raises(NotValid, match=why):
            verify_notation(*vector(name), stores, now)


@pytest.mark.parametrize("name", ["jws stamped", "cose stamped", "cose stamped, certificate of ten minutes"])
def test_timestamps_of_a_public_authority_prove_the_time(name: str) -> None:
    target, kind, raw = vector(name)
    leaf = read(kind, raw).chain[0]
    now = datetime(2050, 1, 1, tzinfo=UTC)
    found = verify_notation(target, kind, raw, Stores((leaf,), (), (root("globalsign"),)), now)
    assert found.at is not None
    assert found.at.date().isoformat() == "2024-06-18"
    assert found.until is None
    with pytest.raises(NotValid, match="had expired at 2050"):
        verify_notation(target, kind, raw, Stores((leaf,)), now)
    with pytest.raises(NotValid, match="the timestamp is not valid"):
        verify_notation(target, kind, raw, Stores((leaf,), (), (leaf,)), now)


def test_a_timestamp_after_the_certificate_has_expired_does_not_count() -> None:
    target, kind, raw = vector("cose stamped too late")
    leaf = read(kind, raw).chain[0]
    with pytest.raises(NotValid, match="had expired at 2024"):
        verify_notation(target, kind, raw, Stores((leaf,), (), (root("globalsign"),)), datetime(2026, 1, 1, tzinfo=UTC))


def test_a_timestamp_of_another_signature_does_not_count() -> None:
    stamp = read(*vector("cose stamped")[1:]).timestamp or b""
    stores = Stores((ROOT.certificate,), (), (root("globalsign"),))
    for kind in (JWS, COSE):
        for token, why in ((stamp, "Mismatch"), (stamp[:-1], "can't be read"), (b"", "can't be read")):
            assert why in refused(made(stamp=lambda _, token=token: token).envelope(kind), kind, stores)


@both
def test_a_signing_authority_proves_the_time_and_has_its_own_store(kind: str) -> None:
    signing, late = made(headers=AUTHORITY), LONG[1] + timedelta(days=400)
    found = verified(signing, kind, now=late)
    assert (found.at, found.until) == (NOW, None)
    only_ca = Stores((ROOT.certificate,))
    assert "no trust store of signing authorities" in refused(signing.envelope(kind), kind, only_ca)
    only_authorities = Stores((), (ROOT.certificate,))
    assert "no trust store of certificate authorities" in refused(made().envelope(kind), kind, only_authorities)


@both
def test_a_trusted_self_signed_certificate_verifies(kind: str) -> None:
    alone = signer(None)
    assert verified(made(by=alone, above=()), kind, trusting(alone)).root.startswith("sha256:")
    assert "does not lead to a trusted root" in refused(made(by=alone, above=()).envelope(kind), kind)


@both
def test_a_signature_of_aws_signer_names_the_required_revocation_check(kind: str) -> None:
    found = verified(made(headers={**AUTHORITY, **notary.BY_SIGNER}), kind)
    assert found.job is not None
    assert (found.job.profile, found.job.job) == (notary.VERSION, notary.JOB)
    first, second, last = found.job.certificates
    assert (len(first), first[96:], second[96:], last[:96]) == (192, second[:96], last[:96], last[96:])


PLUGIN = "com.amazonaws.signer."
FORGERIES: dict[str, tuple[Callable[[], Signing], str]] = {
    "another digest": (lambda: made(digest=OTHER), "of another digest"),
    "another type": (lambda: made(target={"mediaType": "application/x"}), "another type or size"),
    "another size": (lambda: made(target={"size": 529}), "another type or size"),
    "a size of truth": (lambda: made(target={"size": True}), "another type or size"),
    "no target": (lambda: made(payload=b"{}"), "of another digest"),
    "another payload type": (lambda: made(content_type="application/json"), "payload is of another type"),
    "expired": (lambda: made(headers={notary.EXPIRY: NOW - timedelta(seconds=1)}), "the signature expired"),
    "expiry not critical": (
        lambda: made(headers={notary.EXPIRY: NOW + timedelta(1)}, critical=[notary.SCHEME]),
        "expiry is not marked critical",
    ),
    "expiry that is no time": (lambda: made(headers={notary.EXPIRY: "tomorrow"}), "is not a time"),
    "expired certificate": (
        lambda: made(by=signer(BETWEEN, valid=(NOW - timedelta(9), NOW - timedelta(1)))),
        "the certificate had expired",
    ),
    "future certificate": (
        lambda: made(by=signer(BETWEEN, valid=(NOW + timedelta(1), NOW + timedelta(9)))),
        "was not valid yet",
    ),
    "future authority": (
        lambda: made(headers={**AUTHORITY, notary.AUTHENTIC: NOW + timedelta(hours=1)}),
        "its time of signing is in the future",
    ),
    "scheme unknown": (lambda: made(headers={notary.SCHEME: "notary.x510"}), "signing scheme is not known"),
    "scheme not critical": (
        lambda: made(critical=[notary.EXPIRY], headers={notary.EXPIRY: NOW + timedelta(1)}),
        "signingScheme is not marked critical",
    ),
    "no critical headers": (lambda: made(critical=[]), "names no critical headers"),
    "critical but absent": (lambda: made(critical=[notary.SCHEME, "absent"]), "absent is not among"),
    "unknown critical header": (lambda: made(headers={"acme": "1"}), "critical header acme is not understood"),
    "authentic time of an ordinary signer": (
        lambda: made(headers={notary.AUTHENTIC: NOW}),
        "the time of signing is not in the header",
    ),
    "authority with a time of its own": (
        lambda: made(headers={**AUTHORITY, notary.SIGNED_AT: NOW}),
        "the time of signing is not in the header",
    ),
    "another plugin": (lambda: made(headers={**AUTHORITY, notary.PLUGIN: "x"}), "it needs the plugin x"),
    "the plugin of an ordinary signer": (lambda: made(headers=notary.BY_SIGNER), "it needs the plugin"),
    "the plugin's headers without it": (
        lambda: made(headers={**AUTHORITY, f"{PLUGIN}signingJob": notary.JOB}),
        "signingJob is not understood",
    ),
    "no profile": (
        lambda: made(headers={**AUTHORITY, notary.PLUGIN: "com.amazonaws.signer.notation.plugin"}),
        "profile or job is missing",
    ),
    "cut chain": (lambda: made(above=(ROOT,)), "does not lead to a trusted root"),
    "no chain but the root's": (
        lambda: made(by=ROOT, above=()),
        "the certificate does not say what it may be used for",
    ),
    "another root of the same name": (
        lambda: (lambda evil: made(by=signer(evil), above=(evil,)))(Issuer()),
        "does not lead to a trusted root",
    ),
    "issued by a signer": (
        lambda: made(by=signer(SIGNER, common="evil"), above=(SIGNER, *ABOVE)),
        "does not lead to a trusted root",
    ),
    "an authority signs itself": (
        lambda: made(
            by=signer(BETWEEN, ca=True, uses=("digital_signature", "key_cert_sign")),
        ),
        "the certificate is an authority's",
    ),
    "may sign certificates": (
        lambda: made(by=signer(BETWEEN, uses=("digital_signature", "key_cert_sign"))),
        "not only for signatures",
    ),
    "no extended usage": (lambda: made(by=signer(BETWEEN, usages=None)), "does not say what it may be used for"),
    "for servers": (
        lambda: made(by=signer(BETWEEN, usages=(ExtendedKeyUsageOID.SERVER_AUTH,))),
        "not for signing code",
    ),
    "for code and all": (
        lambda: made(
            by=signer(BETWEEN, usages=(ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE))
        ),
        "not only for signing code",
    ),
    "no usage": (lambda: made(by=signer(BETWEEN, uses=("content_commitment",))), "not for signing code"),
    "rsa 1024": (
        lambda: made(by=signer(BETWEEN, key=rsa.generate_private_key(65537, 1024)), algorithm="PS256"),
        "not of the kind and size",
    ),
    "rsa 2048 as PS384": (
        lambda: made(by=signer(BETWEEN, key=KEYS["PS256"]()), algorithm="PS384"),
        "not of the kind and size",
    ),
    "P-192": (
        lambda: made(by=signer(BETWEEN, key=ec.generate_private_key(ec.SECP192R1()))),
        "not of the kind and size",
    ),
    "secp256k1": (
        lambda: made(by=signer(BETWEEN, key=ec.generate_private_key(ec.SECP256K1()))),
        "not of the kind and size",
    ),
    "P-256 as ES384": (lambda: made(algorithm="ES384"), "not of the kind and size"),
    "none": (lambda: made(algorithm="none"), "algorithm is not allowed"),
    "RS256": (lambda: made(algorithm="RS256"), "algorithm is not allowed"),
    "nested payload": (lambda: made(payload=b"[" * 9000), "nested deeper"),
    "a key twice": (lambda: made(payload=b'{"targetArtifact": {}, "targetArtifact": {}}'), "a key is there twice"),
    "huge": (lambda: made(headers={"note": "x" * LARGEST}), "bytes, more than"),
    "a long chain": (lambda: made(above=(BETWEEN,) * 20), "the chain has 21 certificates"),
}


@both
@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forgery_is_refused(forgery: str, kind: str) -> None:
    make, why = FORGERIES[forgery]
    assert why in refused(make().envelope(kind), kind)


@both
def test_a_removed_root_trusts_nothing(kind: str) -> None:
    raw = made().envelope(kind)
    assert "does not lead to a trusted root" in refused(raw, kind, trusting(Issuer()))
    assert "no trust store of" in refused(raw, kind, Stores())


def test_changes_after_signing_invalidate_the_signature() -> None:
    envelope, other = json.loads(made(digest=OTHER).jws()), json.loads(made().jws())
    assert "not the certificate's" in refused(json.dumps({**envelope, "payload": other["payload"]}).encode(), JWS)
    loosened = {"alg": "ES256", "crit": [notary.SCHEME], "cty": notary.PAYLOAD, notary.SCHEME: "notary.x509"}
    loosened[notary.SIGNED_AT] = "2026-11-15T12:00:00Z"
    protected = notary.url64(json.dumps(loosened).encode())
    assert "not the certificate's" in refused(json.dumps({**other, "protected": protected}).encode(), JWS)
    message, evil = cbor2.loads(made().cose()), cbor2.loads(made(digest=OTHER).cose())
    parts = [*message.value]
    parts[3] = evil.value[3]
    assert "not the certificate's" in refused(cbor2.dumps(cbor2.CBORTag(18, parts)), COSE)
    parts[3] = parts[3][:-1]
    assert "not the certificate's" in refused(cbor2.dumps(cbor2.CBORTag(18, parts)), COSE)


def test_an_unrelated_chain_does_not_count() -> None:
    envelope = json.loads(made(by=signer(None), above=()).jws())
    envelope["header"]["x5c"] = [b64(each) for each in made().chain]
    assert "not the certificate's" in refused(json.dumps(envelope).encode(), JWS)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not CBOR"),
        (b"\xd2", "not CBOR"),
        (b"\xd2" + b"\x81" * 5000, "not CBOR"),
        (cbor2.dumps([b"", {}, b"", b""]), "not a COSE_Sign1"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"", {}, None, b""])), "with a payload"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"\xa2\x01\x26\x01\x26", {}, b"", b""])), "not CBOR"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"\xa1\x01\x26", {1: -7}, b"", b""])), "both protected and unprotected"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"\xa0", {}, b"", b""])), "algorithm"),
        (cbor2.dumps(cbor2.CBORTag(18, [cbor2.dumps(cbor2.CBORTag(35, "(a+)+$")), {}, b"", b""])), "not CBOR"),
        (cbor2.dumps(cbor2.CBORTag(18, [b"\xbf\x01\x26\xff", {}, b"", b""])), "not CBOR"),
        (made().cose() + b"\x00", "bytes after its end"),
        (b"\xd2\x84\x5b" + b"\xff" * 8, "not CBOR"),
        (b"x" * (LARGEST + 1), "bytes, more than"),
    ],
)
def test_malformed_cose_is_refused(raw: bytes, why: str) -> None:
    assert why in refused(raw, COSE)


@pytest.mark.parametrize(
    ("bent", "why"),
    [
        ({"payload": None}, "payload is missing"),
        ({"protected": "e30="}, "not base64url"),
        ({"protected": "e31"}, "not base64url"),
        ({"protected": notary.url64(b'{"alg": "ES256", "alg": "none"}')}, "a key is there twice"),
        ({"signature": "+/=="}, "not base64url"),
        ({"header": {}}, "the certificate is missing"),
        ({"header": {"x5c": "x"}}, "the certificate is missing"),
        ({"header": {"x5c": ["AAAA"]}}, "can't be read"),
    ],
)
def test_malformed_jws_is_refused(bent: dict[str, Any], why: str) -> None:
    assert why in refused(json.dumps({**json.loads(made().jws()), **bent}).encode(), JWS)


def test_a_certificate_of_an_unknown_version_is_refused() -> None:
    version = bytes.fromhex("a003020102")
    der = SIGNER.der.replace(version, version[:-1] + b"\x61", 1)
    envelope = json.loads(made().jws())
    envelope["header"]["x5c"][0] = b64(der)
    assert refused(json.dumps(envelope).encode(), JWS) == "the certificate can't be read"


def test_an_envelope_of_another_type_is_not_read() -> None:
    assert "has an unknown type (text/x)" in refused(made().jws(), "text/x")


def test_stores_without_certificates_are_refused() -> None:
    with pytest.raises(ValueError):
        Stores.parse(b"x")
    assert Stores.parse(ROOT.pem + BETWEEN.pem, b"", ROOT.pem).ca == (ROOT.certificate, BETWEEN.certificate)
