"""Check certificates for signing code: the chain to a trusted root, the times, and the identity in Fulcio's."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, ObjectIdentifier

from tallyman_origin import keys
from tallyman_origin.result import Identity, NotValid

_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")  # a DER UTF8String
_OLD_ISSUER = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")  # the bare text
_OTHER_NAME = ObjectIdentifier("1.3.6.1.4.1.57264.1.7")
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
UNREADABLE = (ValueError, TypeError, x509.DuplicateExtension, x509.InvalidVersion, UnsupportedAlgorithm)
"""The exceptions of `cryptography` for a malformed certificate."""
_LONGEST_CHAIN = 5
_MOST_STEPS = 50


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Raise NotValid, which begins with `what`, where `cryptography` can't read a part of a certificate."""
    try:
        yield
    except UNREADABLE as error:
        raise NotValid(f"{what}: {error}") from None


def key_of(certificate: x509.Certificate) -> keys.PublicKey:
    """The certificate's key. Raises NotValid where its kind is not allowed."""
    with _readable("the certificate's key"):
        return keys.allowed(certificate.public_key())


def any_key_of(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    """The certificate's key, of any kind. Raises NotValid where it can't be read."""
    with _readable("the certificate's key"):
        return certificate.public_key()


def subject_of(certificate: x509.Certificate) -> str:
    """The certificate's subject in the form of RFC 4514. Raises NotValid where it can't be read."""
    with _readable("the certificate's subject"):
        return certificate.subject.rfc4514_string()


def check_chain(
    leaf: x509.Certificate, between: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...]:
    """The authorities above the certificate, up to one of the roots; empty where it is a self-signed root itself.
    Raises NotValid unless there is such a chain in which each link is signed, allowed and valid at `at`, the root
    included."""
    _check_leaf(leaf)
    _check_time(leaf, at)
    if leaf in roots and _is_signed_by(leaf, leaf):
        return ()
    path = next(_paths(leaf, between, roots, at, (), [_MOST_STEPS]), None)
    if path is None:
        raise NotValid("the certificate's chain does not lead to a trusted root that was valid at that time")
    return path


def identity_of(leaf: x509.Certificate) -> Identity:
    """The identity in the certificate. Raises NotValid where it names not exactly one subject and an issuer."""
    with _readable("the certificate can't be read"):
        return Identity(_issuer(leaf), _subject(leaf))


def _paths(
    child: x509.Certificate,
    between: Sequence[x509.Certificate],
    roots: Sequence[x509.Certificate],
    at: datetime,
    beneath: tuple[x509.Certificate, ...],
    steps: list[int],
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Every path to a root. `beneath`: the authorities below this link. `steps`: how many links may still be tried."""
    for parent, trusted in [*((root, True) for root in roots), *((each, False) for each in between)]:
        steps[0] -= 1
        if steps[0] < 0 or len(beneath) >= _LONGEST_CHAIN:
            return
        if not _issued(parent, child, at, len(beneath)):
            continue
        above = (*beneath, parent)
        if trusted:
            yield above
        else:
            yield from _paths(parent, between, roots, at, above, steps)


def _issued(parent: x509.Certificate, child: x509.Certificate, at: datetime, beneath: int) -> bool:
    try:
        _check_time(parent, at)
        keys.allowed_of_authority(parent.public_key())
        constraints = parent.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = parent.extensions.get_extension_for_class(x509.KeyUsage).value
        _check_critical(parent)
    except (NotValid, x509.ExtensionNotFound, *UNREADABLE):
        return False
    if not _is_signed_by(child, parent):
        return False
    deep = constraints.path_length is not None and beneath > constraints.path_length
    return constraints.ca and usage.key_cert_sign and not deep


def _is_signed_by(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _check_leaf(leaf: x509.Certificate) -> None:
    try:
        with _readable("the certificate can't be read"):
            usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
            usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise NotValid("the certificate does not say what it may be used for") from None
    if ExtendedKeyUsageOID.CODE_SIGNING not in usages or not usage.digital_signature:
        raise NotValid("the certificate is not for signing code")
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is not None and constraints.ca:
        raise NotValid("the certificate is an authority's")
    _check_critical(leaf)


def _check_critical(certificate: x509.Certificate) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise NotValid(f"the certificate has a critical extension that is not understood ({extension.oid})")


def _check_time(certificate: x509.Certificate, at: datetime) -> None:
    if at < certificate.not_valid_before_utc:
        raise NotValid(f"the certificate was not valid yet at {at:%Y-%m-%dT%H:%M:%SZ}")
    if at > certificate.not_valid_after_utc:
        raise NotValid(f"the certificate had expired at {at:%Y-%m-%dT%H:%M:%SZ}")


def _issuer(leaf: x509.Certificate) -> str:
    for oid in (_ISSUER, _OLD_ISSUER):
        try:
            value = leaf.extensions.get_extension_for_oid(oid).value
        except x509.ExtensionNotFound:
            continue
        raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
        text = _utf8(raw) if oid == _ISSUER else raw
        with suppress(UnicodeDecodeError):
            if text:
                return text.decode()
        break
    raise NotValid("the certificate names no issuer of the identity")


def _subject(leaf: x509.Certificate) -> str:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise NotValid("the certificate names no subject") from None
    found = [*names.get_values_for_type(x509.RFC822Name), *names.get_values_for_type(x509.UniformResourceIdentifier)]
    for other in names.get_values_for_type(x509.OtherName):
        if other.type_id == _OTHER_NAME:
            found.append((_utf8(other.value) or b"").decode("utf-8", "replace"))
    if len(found) != 1 or len(list(names)) != 1 or not found[0]:
        raise NotValid("the certificate does not name exactly one subject")
    return found[0]


def _utf8(der: bytes) -> bytes | None:
    """The text of a DER UTF8String of at most 65,535 bytes; None where the bytes are not one."""
    if len(der) < 2 or der[0] != 0x0C:
        return None
    size, start = der[1], 2
    if size & 0x80:
        more = size & 0x7F
        if more not in (1, 2) or len(der) < 2 + more:
            return None
        size, start = int.from_bytes(der[2 : 2 + more]), 2 + more
    return der[start:] if len(der) == start + size else None
