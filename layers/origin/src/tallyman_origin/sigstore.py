"""Verify cosign's signatures: the tag scheme (simple signing), and Sigstore's bundles (OCI 1.1 referrers).

Sources: cosign's SIGNATURE_SPEC and BUNDLE_SPEC, sigstore/protobuf-specs, DSSE v1, in-toto Statement v1.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509

from tallyman_origin import certificates, keys, timestamps
from tallyman_origin.documents import Json, decoded, items, mapping, parse, part
from tallyman_origin.log import Entry
from tallyman_origin.result import NotValid, Signature, Trust
from tallyman_origin.roots import Roots

IN_TOTO = "application/vnd.in-toto+json"
STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/"
BUNDLES = (
    "application/vnd.dev.sigstore.bundle.v0.3+json",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
)
_MOST_CERTIFICATES = 10
_MOST_TIMESTAMPS = 4


@dataclass(frozen=True)
class _Signed:
    """A signature and the bytes that it covers. `data` None: only their SHA-256 is known. `payload`: the payload of a
    DSSE envelope. `stamps`: the timestamps of RFC 3161 in the bundle."""

    signature: bytes
    sha256: bytes
    data: bytes | None = None
    payload: bytes | None = None
    predicate: tuple[str, Json] | None = None
    stamps: tuple[bytes, ...] = ()

    def is_by(self, key: keys.PublicKey) -> bool:
        if self.data is not None:
            return keys.is_signed(key, self.signature, self.data)
        return keys.is_signed_digest(key, self.signature, self.sha256)


def verify_simple_signing(digest: str, payload: bytes, annotations: Mapping[str, str], trust: Trust) -> Signature:
    """Verify one layer of cosign's tag scheme. `digest`: the image's, `sha256:<hex>`. `payload`: the layer's bytes.

    Raises NotValid with the reason.
    """
    critical = part(parse(payload, "the payload"), "critical")
    if critical.get("type") != "cosign container image signature":
        raise NotValid("the payload is not a cosign signature")
    if part(critical, "image").get("docker-manifest-digest") != digest:
        raise NotValid("it is a signature of another digest")
    signature = decoded(annotations.get("dev.cosignproject.cosign/signature"), "the signature")
    signed = _Signed(signature, hashlib.sha256(payload).digest(), payload)
    logged = annotations.get("dev.sigstore.cosign/bundle")
    entry = _entry_of(parse(logged.encode(), "the log entry")) if logged is not None else None
    pem = annotations.get("dev.sigstore.cosign/certificate")
    if pem is None:
        return _by_key(signed, entry, trust)
    chain = _from_pem(pem) + _from_pem(annotations.get("dev.sigstore.cosign/chain", ""))
    return _by_identity(signed, entry, chain, trust)


def verify_bundle(digest: str, raw: bytes, trust: Trust) -> Signature:
    """Verify a Sigstore bundle: a signature of the image, or a signed statement about it, whose predicate is
    returned.

    `digest`: the image's, `sha256:<hex>`. Raises NotValid with the reason.
    """
    bundle = parse(raw, "the bundle")
    if bundle.get("mediaType") not in BUNDLES:
        raise NotValid(f"the bundle has an unknown version ({str(bundle.get('mediaType'))[:100]})")
    envelope, message = part(bundle, "dsseEnvelope"), part(bundle, "messageSignature")
    if bool(envelope) == bool(message):
        raise NotValid("the bundle does not hold exactly one signature")
    signed = _statement(envelope, digest) if envelope else _message(message, digest)
    material = part(bundle, "verificationMaterial")
    entries = items(material, "tlogEntries")
    if len(entries) > 1:
        raise NotValid("the bundle holds several log entries")
    entry = Entry(mapping(entries[0])) if entries else None
    given = [material["certificate"]] if "certificate" in material else []
    given += items(part(material, "x509CertificateChain"), "certificates")
    if not given:
        return _by_key(signed, entry, trust)
    chain = [_from_der(mapping(each)) for each in given[:_MOST_CERTIFICATES]]
    return _by_identity(replace(signed, stamps=_stamps(material)), entry, chain, trust)


def _statement(envelope: Json, digest: str) -> _Signed:
    """The signature of a DSSE envelope. Only cosign's own statement counts as a signature of the image; any other may
    say anything about it, so its predicate is kept."""
    payload, signatures = decoded(envelope.get("payload"), "the envelope's payload"), items(envelope, "signatures")
    if envelope.get("payloadType") != IN_TOTO:
        raise NotValid("the envelope holds no in-toto statement")
    if len(signatures) != 1:
        raise NotValid("the envelope does not hold exactly one signature")
    statement = parse(payload, "the statement")
    if statement.get("_type") not in STATEMENTS:
        raise NotValid("the envelope holds no in-toto statement")
    subjects = [part(mapping(each), "digest") for each in items(statement, "subject")]
    if not any(f"sha256:{subject.get('sha256')}" == digest for subject in subjects):
        raise NotValid("it is a signature of another digest")
    predicate = str(statement.get("predicateType"))
    about = None if predicate.startswith(SIGN_PREDICATE) else (predicate, part(statement, "predicate"))
    signature = decoded(mapping(signatures[0]).get("sig"), "the signature")
    data = b"DSSEv1 %d %s %d %s" % (len(IN_TOTO), IN_TOTO.encode(), len(payload), payload)
    return _Signed(signature, hashlib.sha256(data).digest(), data, payload, about)


def _message(message: Json, digest: str) -> _Signed:
    """A signature of the image's manifest, whose SHA-256 is the digest."""
    hashed, named = bytes.fromhex(digest.removeprefix("sha256:")), part(message, "messageDigest")
    stated = named.get("algorithm"), named.get("digest")
    if named and stated != ("SHA2_256", base64.b64encode(hashed).decode()):
        raise NotValid("it is a signature of another digest")
    return _Signed(decoded(message.get("signature"), "the signature"), hashed)


def _by_key(signed: _Signed, entry: Entry | None, trust: Trust) -> Signature:
    """Verify a signature by one of the keys. A log entry, where there is one of a trusted log, must be right too."""
    names = tuple(sorted(name for name, key in trust.keys.items() if signed.is_by(key)))
    if not names:
        why = "by none of the keys of the policy" if trust.keys else "by a key, but the policy names no keys"
        raise NotValid(f"it is signed {why}")
    at = None
    if entry is not None and trust.roots is not None and entry.log in trust.roots.logs:
        at = entry.check(trust.roots)
        entry.check_body(signed.signature, signed.sha256, signed.payload, trust.keys[names[0]])
    return Signature(names, None, at, signed.predicate)


def _by_identity(signed: _Signed, entry: Entry | None, chain: Sequence[x509.Certificate], trust: Trust) -> Signature:
    """Verify a signature by the holder of the chain's first certificate, which must be valid at each time that a log
    or a timestamp authority has signed. Where a log is trusted, there must be an entry of it."""
    if not chain:
        raise NotValid("the certificate is missing")
    leaf, *chain = chain
    identity, key = certificates.identity_of(leaf), certificates.key_of(leaf)
    by = f"it is signed by {identity.subject} ({identity.issuer}), but "
    if trust.roots is None:
        raise NotValid(f"{by}there are no trust roots: the policy has no trusted_root.json beside it")
    if entry is None and (trust.roots.logs or not signed.stamps):
        raise NotValid(f"{by}no log entry proves the time")
    if not signed.is_by(key):
        raise NotValid("the signature is not the certificate's")
    try:
        times = _times(signed, entry, leaf, trust.roots)
        for at in times:
            roots, between = trust.roots.at(at)
            certificates.check_chain(leaf, [*chain, *between], roots, at)
    except NotValid as error:
        raise NotValid(f"{by}{error}") from None
    return Signature((), identity, min(times), signed.predicate)


def _times(signed: _Signed, entry: Entry | None, leaf: x509.Certificate, roots: Roots) -> list[datetime]:
    """The times at which the log and timestamp authorities saw the signature; the log must be trusted at each. Raises
    NotValid where there is none."""
    times = []
    if entry is not None:
        times += [at for at in (entry.check(roots),) if at is not None]
        entry.check_body(signed.signature, signed.sha256, signed.payload, leaf)
    if roots.timestamps:
        times += [timestamps.proven(each, signed.signature, roots.timestamps) for each in signed.stamps]
    if not times:
        raise NotValid("neither the log nor a trusted timestamp authority has signed the time")
    if entry is not None:
        for at in times:
            entry.check_trusted(roots, at)
    return times


def _stamps(material: Json) -> tuple[bytes, ...]:
    found = items(part(material, "timestampVerificationData"), "rfc3161Timestamps")
    if len(found) > _MOST_TIMESTAMPS:
        raise NotValid("the bundle holds too many timestamps")
    return tuple(decoded(mapping(each).get("signedTimestamp"), "the timestamp") for each in found)


def _entry_of(bundle: Json) -> Entry:
    """The log entry of cosign's own form, in an annotation: with a promise, without a proof."""
    payload = part(bundle, "Payload")
    log = payload.get("logID")
    try:
        id = base64.b64encode(bytes.fromhex(log if isinstance(log, str) else "")).decode()
    except ValueError:
        raise NotValid("the log's id is not hexadecimal") from None
    return Entry(
        {
            "logId": {"keyId": id},
            "canonicalizedBody": payload.get("body"),
            "logIndex": payload.get("logIndex"),
            "integratedTime": payload.get("integratedTime"),
            "inclusionPromise": {"signedEntryTimestamp": bundle.get("SignedEntryTimestamp")},
        }
    )


def _from_pem(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())[:_MOST_CERTIFICATES] if text else []
    except certificates.UNREADABLE:
        raise NotValid("the certificate can't be read") from None


def _from_der(certificate: Json) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(decoded(certificate.get("rawBytes"), "the certificate"))
    except certificates.UNREADABLE:
        raise NotValid("the certificate can't be read") from None
