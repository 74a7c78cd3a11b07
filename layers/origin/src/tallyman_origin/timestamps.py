"""Verify timestamps of RFC 3161, which prove that a signature existed at a time.

`rfc3161_client` verifies them; it is imported only for signatures with a timestamp.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tallyman_origin.certificates import UNREADABLE
from tallyman_origin.der import in_order
from tallyman_origin.documents import LARGEST, NotValid
from tallyman_origin.roots import Authority

if TYPE_CHECKING:
    from rfc3161_client.tsp import Accuracy


def proven(response: bytes, signature: bytes, authorities: Sequence[Authority]) -> datetime:
    """The latest time at which one of the authorities can have seen this signature (its time plus its accuracy).

    `response`: a TimeStampResp in DER. The authority's certificates must be valid at that time. Raises NotValid.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response

    if len(response) > LARGEST:
        raise NotValid(f"the timestamp has {len(response)} bytes, more than {LARGEST}")
    try:
        stamp = decode_timestamp_response(in_order(response))
        at = stamp.tst_info.gen_time.replace(tzinfo=UTC)
    except ValueError:
        raise NotValid("the timestamp can't be read") from None
    why = "no timestamp authority is trusted"
    for authority in authorities:
        if not authority.trusted.holds(at):
            why = "the timestamp's authority was not trusted at that time"
            continue
        verifier = VerifierBuilder(
            roots=[authority.root],
            intermediates=[each for each in authority.between if not _is_tsa(each)],
            tsa_certificate=next((each for each in authority.between if _is_tsa(each)), None),
        ).build()
        try:
            verifier.verify_message(stamp, signature)
        except (VerificationError, *UNREADABLE) as error:
            why = f"the timestamp is not valid: {error}"
            continue
        return at + _width(stamp.tst_info.accuracy)
    raise NotValid(why)


def _width(accuracy: "Accuracy | None") -> timedelta:
    if accuracy is None:
        return timedelta()
    return timedelta(
        seconds=accuracy.seconds or 0, milliseconds=accuracy.millis or 0, microseconds=accuracy.micros or 0
    )


def _is_tsa(certificate: x509.Certificate) -> bool:
    """Whether it signs timestamps itself. Sigstore's authority has no basic constraints in its certificate."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    try:
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        ca = False
    return ExtendedKeyUsageOID.TIME_STAMPING in usages and not ca
