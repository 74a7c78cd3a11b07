"""Verify Notation's signatures: envelopes whose signer's certificate chains to a trust store.

Sources: the Notary Project's specifications of signatures, of signing schemes, and of trust stores and policies.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tallyman_origin import certificates, timestamps
from tallyman_origin.der import response_of
from tallyman_origin.documents import NotValid, parse, part
from tallyman_origin.envelopes import AUTHENTIC_TIME, EXPIRY, NOTARY, SIGNING_TIME, Envelope, read
from tallyman_origin.roots import Authority, Span

PAYLOAD = "application/vnd.cncf.notary.payload.v1+json"
SCHEME, PLUGIN = f"{NOTARY}signingScheme", f"{NOTARY}verificationPlugin"
X509, AUTHORITY = "notary.x509", "notary.x509.signingAuthority"
AWS_SIGNER = "com.amazonaws.signer.notation.plugin"
_AWS = "com.amazonaws.signer."
_PROFILE, _JOB, _ALIAS = (f"{_AWS}{name}" for name in ("signingProfileVersion", "signingJob", "signingProfileAlias"))
_UNDERSTOOD = frozenset({SCHEME, EXPIRY, AUTHENTIC_TIME})
_BY_SIGNER = frozenset({PLUGIN, f"{PLUGIN}MinVersion", _PROFILE, _JOB, _ALIAS})
_CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_RSA_SIZES = {"PS256": 2048, "PS384": 3072, "PS512": 4096}
_HASHES: dict[str, type[hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_OTHER_USES = {
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
    ExtendedKeyUsageOID.TIME_STAMPING,
    ExtendedKeyUsageOID.OCSP_SIGNING,
}
_ALWAYS = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class Stores:
    """Trusted certificates: of authorities for signers (`ca`), of signing authorities, which also vouch for the time
    (`authority`), and of timestamp authorities (`tsa`)."""

    ca: tuple[x509.Certificate, ...] = ()
    authority: tuple[x509.Certificate, ...] = ()
    tsa: tuple[x509.Certificate, ...] = ()

    @classmethod
    def parse(cls, ca: bytes = b"", authority: bytes = b"", tsa: bytes = b"") -> "Stores":
        """The stores in PEM files; empty: no certificates. Raises ValueError."""
        return cls(*(tuple(x509.load_pem_x509_certificates(raw)) if raw else () for raw in (ca, authority, tsa)))


@dataclass(frozen=True)
class Target:
    """The descriptor of the image. `digest`: `sha256:<hex>`. `size`: bytes of its manifest."""

    digest: str
    media_type: str
    size: int


@dataclass(frozen=True)
class Job:
    """A signing job of AWS Signer. `profile`, `job`: ARNs of the profile's version and of the job. `certificates`: for
    each certificate of the chain the SHA-384 of its signed part and of its issuer's, in hexadecimal."""

    profile: str
    job: str
    certificates: tuple[str, ...]


@dataclass(frozen=True)
class NotationSignature:
    """A verified signature. `subject`: its certificate's, in the form of RFC 4514. `root`: `sha256:<hex>` of the
    trusted certificate. `at`: when it was made, where that is proven. `until`: when this result expires.

    `job`: AWS Signer's job, where it made the signature; the caller must ask Signer whether it was revoked.
    """

    subject: str
    root: str
    at: datetime | None
    until: datetime | None
    job: Job | None


def verify_notation(image: Target, kind: str, raw: bytes, stores: Stores, now: datetime) -> NotationSignature:
    """Verify an envelope of the media type `kind`. The caller decides whether the subject or profile is trusted.

    Raises NotValid with the reason. Does not check revocation.
    """
    envelope = read(kind, raw)
    _check_target(envelope, image)
    job = _check_headers(envelope)
    leaf, *between = envelope.chain
    if not _is_signed(envelope, leaf):
        raise NotValid("the signature is not the certificate's")
    subject = certificates.subject_of(leaf)
    try:
        expiry = _expiry(envelope, now)
        at = _proven(envelope, stores, now)
        by_authority = _scheme(envelope) == AUTHORITY
        trusted = stores.authority if by_authority else stores.ca
        if not trusted:
            kind = "signing authorities" if by_authority else "certificate authorities"
            raise NotValid(f"the policy has no trust store of {kind} beside it")
        path = _check_chain(leaf, between, trusted, at or now)
    except NotValid as error:
        raise NotValid(f"it is signed by {subject}, but {error}") from None
    ends = [expiry] if expiry else []
    if at is None:
        ends += [each.not_valid_after_utc for each in (leaf, *path)]
    root = hashlib.sha256((path or (leaf,))[-1].public_bytes(Encoding.DER)).hexdigest()
    return NotationSignature(subject, f"sha256:{root}", at, min(ends, default=None), job)


def _check_target(envelope: Envelope, image: Target) -> None:
    if envelope.content_type != PAYLOAD:
        raise NotValid(f"the envelope's payload is of another type ({str(envelope.content_type)[:100]})")
    target = part(parse(envelope.payload, "the payload"), "targetArtifact")
    if target.get("digest") != image.digest:
        raise NotValid("it is a signature of another digest")
    size = target.get("size")
    if type(size) is not int or (target.get("mediaType"), size) != (image.media_type, image.size):
        raise NotValid("it is a signature of an image of another type or size")


def _check_headers(envelope: Envelope) -> Job | None:
    """Check that every critical header is known, and that the headers that must be critical are. The job of AWS
    Signer, where it made the signature."""
    headers, critical = envelope.attributes, envelope.critical
    scheme, plugin = _scheme(envelope), headers.get(PLUGIN)
    if plugin is not None and (plugin != AWS_SIGNER or scheme != AUTHORITY):
        raise NotValid(f"it needs the plugin {str(plugin)[:100]}, which is not supported for {scheme}")
    known = _UNDERSTOOD | (_BY_SIGNER if plugin else frozenset())
    if unknown := sorted(critical - known):
        raise NotValid(f"the critical header {unknown[0][:100]} is not understood")
    needed = {SCHEME, EXPIRY, AUTHENTIC_TIME, *((PLUGIN, _PROFILE, _JOB) if plugin else ())} & set(headers)
    if loose := sorted(needed - critical):
        raise NotValid(f"the header {loose[0]} is not marked critical")
    if (scheme == AUTHORITY) != (AUTHENTIC_TIME in headers) or (scheme == X509) != (SIGNING_TIME in headers):
        raise NotValid(f"the time of signing is not in the header that {scheme} requires")
    if plugin is None:
        return None
    profile, job = headers.get(_PROFILE), headers.get(_JOB)
    if not isinstance(profile, str) or not isinstance(job, str):
        raise NotValid("AWS Signer's profile or job is missing")
    return Job(profile, job, _hashed(envelope.chain))


def _scheme(envelope: Envelope) -> str:
    scheme = envelope.attributes.get(SCHEME)
    if scheme not in (X509, AUTHORITY):
        raise NotValid(f"the signing scheme is not known ({str(scheme)[:100]})")
    return str(scheme)


def _is_signed(envelope: Envelope, leaf: x509.Certificate) -> bool:
    """Whether the certificate's key made the signature. Raises NotValid where its kind or size is not the
    algorithm's."""
    key, name = certificates.any_key_of(leaf), envelope.algorithm
    algorithm = _HASHES[name[2:]]()
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVES.get(name):
            half = (key.key_size + 7) // 8
            if len(envelope.signature) != 2 * half:
                return False
            r, s = (int.from_bytes(envelope.signature[at : at + half]) for at in (0, half))
            key.verify(encode_dss_signature(r, s), envelope.signed, ec.ECDSA(algorithm))
        elif isinstance(key, rsa.RSAPublicKey) and key.key_size == _RSA_SIZES.get(name):
            pss = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
            key.verify(envelope.signature, envelope.signed, pss, algorithm)
        else:
            raise NotValid(f"the certificate's key is not of the kind and size that {name} requires")
    except InvalidSignature:
        return False
    return True


def _expiry(envelope: Envelope, now: datetime) -> datetime | None:
    expiry = envelope.attributes.get(EXPIRY)
    if not isinstance(expiry, datetime):
        return None
    if now > expiry:
        raise NotValid(f"the signature expired at {expiry:%Y-%m-%dT%H:%M:%SZ}")
    return expiry


def _proven(envelope: Envelope, stores: Stores, now: datetime) -> datetime | None:
    """When the image was signed, by the signing authority, or by a timestamp where timestamp authorities are trusted.
    None: the time is not proven, and the certificates must be valid now."""
    found = envelope.attributes.get(AUTHENTIC_TIME)
    at = found if isinstance(found, datetime) else None
    if envelope.timestamp is not None and stores.tsa:
        trusted = Span(_ALWAYS, None)
        authorities = [Authority(root, (), trusted) for root in stores.tsa]
        stamped = timestamps.proven(response_of(envelope.timestamp), envelope.signature, authorities)
        at = at or stamped
        if stamped > now:
            raise NotValid("the timestamp is in the future")
    if at is not None and at > now:
        raise NotValid("its time of signing is in the future")
    return at


def _check_chain(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], trusted: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...]:
    """The authorities up to the trusted one; empty where the certificate is a trusted, self-signed one itself."""
    path = certificates.check_chain(leaf, between, trusted, at)
    extensions = leaf.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    uses = usage.value
    if not usage.critical or uses.key_cert_sign or uses.crl_sign or uses.key_encipherment or uses.data_encipherment:
        raise NotValid("the certificate's key is not only for signatures")
    if _OTHER_USES & set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value):
        raise NotValid("the certificate is not only for signing code")
    return path


def _hashed(chain: Sequence[x509.Certificate]) -> tuple[str, ...]:
    own = [hashlib.sha384(each.tbs_certificate_bytes).hexdigest() for each in chain]
    return tuple(each + above for each, above in zip(own, [*own[1:], own[-1]], strict=True))
