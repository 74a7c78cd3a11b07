"""Parse Notation's signature envelopes, JWS and COSE, strictly; verify nothing.

Sources: the Notary Project's specifications of signature envelopes, RFC 7515 (JWS), RFC 9052 (COSE).
"""

import base64
import binascii
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import cbor2
from cryptography import x509

from tallyman_origin.certificates import UNREADABLE
from tallyman_origin.documents import DEEPEST, LARGEST, Json, NotValid, decoded, mapping, parse

JWS = "application/jose+json"
COSE = "application/cose"
NOTARY = "io.cncf.notary."
EXPIRY, SIGNING_TIME, AUTHENTIC_TIME = f"{NOTARY}expiry", f"{NOTARY}signingTime", f"{NOTARY}authenticSigningTime"
_TIMESTAMP = f"{NOTARY}timestampSignature"
_TIMES = (EXPIRY, SIGNING_TIME, AUTHENTIC_TIME)
_MOST_CERTIFICATES = 10
_ALGORITHMS = {-7: "ES256", -35: "ES384", -36: "ES512", -37: "PS256", -38: "PS384", -39: "PS512"}
_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _CHAIN = 1, 2, 3, 33
_SIGN1 = 18


@dataclass(frozen=True)
class Envelope:
    """A parsed envelope. `attributes`: the signed headers, except the format's own; times as datetime. `critical`: the
    names of those that a verifier must understand. `signed`: the bytes that `signature` covers. `chain`: the signer's
    certificate first. `timestamp`: a token of RFC 3161 in DER."""

    algorithm: str
    content_type: object
    critical: frozenset[str]
    attributes: Mapping[str, object]
    payload: bytes
    signed: bytes
    signature: bytes
    chain: tuple[x509.Certificate, ...]
    timestamp: bytes | None


def read(kind: str, raw: bytes) -> Envelope:
    """Parse an envelope of this media type. Raises NotValid."""
    if kind == JWS:
        return _jws(raw)
    if kind == COSE:
        return _cose(raw)
    raise NotValid(f"the envelope has an unknown type ({kind[:100]})")


def _jws(raw: bytes) -> Envelope:
    envelope = parse(raw, "the envelope")
    header, protected, payload = mapping(envelope.get("header")), envelope.get("protected"), envelope.get("payload")
    headers = dict(parse(_base64url(protected, "the envelope's protected header"), "the protected header"))
    algorithm, critical, content_type = (headers.pop(key, None) for key in ("alg", "crit", "cty"))
    chain = header.get("x5c")
    stamp = header.get(_TIMESTAMP)
    return Envelope(
        algorithm=algorithm
        if isinstance(algorithm, str) and algorithm in _ALGORITHMS.values()
        else _unknown(algorithm),
        content_type=content_type,
        critical=_critical(critical, headers),
        attributes=_timed(headers, _rfc3339),
        payload=_base64url(payload, "the envelope's payload"),
        signed=f"{protected}.{payload}".encode(),
        signature=_base64url(envelope.get("signature"), "the signature"),
        chain=_chain(decoded(each, "a certificate") for each in (chain if isinstance(chain, list) else ())),
        timestamp=decoded(stamp, "the timestamp") if stamp is not None else None,
    )


def _cose(raw: bytes) -> Envelope:
    if len(raw) > LARGEST:
        raise NotValid(f"the envelope has {len(raw)} bytes, more than {LARGEST}")
    message = _cbor(raw, "the envelope")
    parts = message.value if isinstance(message, cbor2.CBORTag) and message.tag == _SIGN1 else None
    if not isinstance(parts, list | tuple) or len(parts) != 4:
        raise NotValid("the envelope is not a COSE_Sign1 message")
    protected, header, payload, signature = parts
    if not (isinstance(protected, bytes) and isinstance(payload, bytes) and isinstance(signature, bytes)):
        raise NotValid("the envelope is not a COSE_Sign1 message with a payload")
    found, loose = _cbor(protected, "the protected header"), header if isinstance(header, Mapping) else {}
    if not isinstance(found, Mapping):
        raise NotValid("the protected header is not a map")
    if set(loose) & set(found):
        raise NotValid("a header is both protected and unprotected")
    given = dict(found)
    algorithm, critical, content_type = (given.pop(key, None) for key in (_ALGORITHM, _CRITICAL, _CONTENT_TYPE))
    headers = {str(key): value for key, value in given.items()}
    chain, stamp = loose.get(_CHAIN), loose.get(_TIMESTAMP)
    if stamp is not None and not isinstance(stamp, bytes):
        raise NotValid("the timestamp is not a byte string")
    return Envelope(
        algorithm=_ALGORITHMS.get(algorithm if type(algorithm) is int else 0) or _unknown(algorithm),
        content_type=content_type,
        critical=_critical(critical, headers),
        attributes=_timed(headers, _moment),
        payload=payload,
        signed=cbor2.dumps(["Signature1", protected, b"", payload]),
        signature=signature,
        chain=_chain(chain if isinstance(chain, list | tuple) else (chain,)),
        timestamp=stamp,
    )


def _refuse(_value: object, _immutable: bool) -> object:
    raise ValueError("a tag that envelopes do not use")


_NO_USE = (0, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)
_TAGS = dict.fromkeys(_NO_USE, _refuse)
"""Tags for which the decoder would build other objects than plain values and times."""


def _cbor(raw: bytes, what: str) -> object:
    stream = io.BytesIO(raw)
    decoder = cbor2.CBORDecoder(
        stream,
        semantic_decoders=_TAGS,
        max_depth=DEEPEST,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        read_size=1,
    )
    try:
        found: object = decoder.decode()
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError):
        raise NotValid(f"{what} is not CBOR, or contains what envelopes do not use") from None
    if stream.read(1):
        raise NotValid(f"{what} has bytes after its end")
    return found


def _unknown(algorithm: object) -> str:
    raise NotValid(f"the signature's algorithm is not allowed ({str(algorithm)[:50]})")


def _critical(names: object, headers: Mapping[str, object]) -> frozenset[str]:
    if not isinstance(names, list | tuple) or not names:
        raise NotValid("the envelope names no critical headers")
    for name in names:
        if not isinstance(name, str) or name not in headers:
            raise NotValid(f"the critical header {str(name)[:100]} is not among the signed headers")
    return frozenset(names)


def _timed(headers: Json, read_time: Callable[[object], datetime | None]) -> dict[str, object]:
    found = dict(headers)
    for key in _TIMES:
        if key in found:
            found[key] = read_time(found[key])
            if found[key] is None:
                raise NotValid(f"{key} is not a time")
    return found


def _rfc3339(text: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) and "T" in text.upper() else None
    except ValueError:
        return None
    return found if found and found.tzinfo else None


def _moment(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _base64url(text: object, what: str) -> bytes:
    if not isinstance(text, str):
        raise NotValid(f"{what} is missing")
    try:
        found = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise NotValid(f"{what} is not base64url") from None
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode() != text:
        raise NotValid(f"{what} is not base64url")
    return found


def _chain(ders: Iterable[object]) -> tuple[x509.Certificate, ...]:
    try:
        found = tuple(x509.load_der_x509_certificate(der if isinstance(der, bytes) else b"") for der in ders)
    except UNREADABLE:
        raise NotValid("the certificate can't be read") from None
    if not found:
        raise NotValid("the certificate is missing")
    if len(found) > _MOST_CERTIFICATES:
        raise NotValid(f"the chain has {len(found)} certificates, more than {_MOST_CERTIFICATES}")
    return found
