"""Trust roots: the authorities and logs in Sigstore's `trusted_root.json`, each trusted for some time."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from tallyman_origin import keys
from tallyman_origin.documents import Json, NotValid, decoded, items, mapping, parse, part


@dataclass(frozen=True)
class Span:
    """The time for which something is trusted. `end` None: without an end."""

    start: datetime
    end: datetime | None

    def holds(self, at: datetime) -> bool:
        """Whether it is trusted at that time."""
        return self.start <= at and (self.end is None or at <= self.end)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its root and its intermediate certificates."""

    root: x509.Certificate
    between: tuple[x509.Certificate, ...]
    trusted: Span


@dataclass(frozen=True)
class Log:
    """A transparency log. `id`: its id in entries."""

    id: bytes
    key: keys.PublicKey
    trusted: Span


@dataclass(frozen=True)
class Roots:
    """The trust roots of one file. `digest`: `sha256:<hex>` of the file. `timestamps`: authorities of RFC 3161."""

    digest: str
    authorities: tuple[Authority, ...]
    logs: Mapping[bytes, Log]
    timestamps: tuple[Authority, ...] = ()

    @classmethod
    def parse(cls, raw: bytes) -> "Roots":
        """The trust roots in the file's bytes. Raises ValueError that says what is wrong."""
        try:
            document = parse(raw, "the file of trust roots")
            logs = {}
            signers = tuple(_authority(mapping(each)) for each in items(document, "certificateAuthorities"))
            stampers = tuple(_authority(mapping(each)) for each in items(document, "timestampAuthorities"))
            for entry in items(document, "tlogs"):
                log = mapping(entry)
                public = part(log, "publicKey")
                key = keys.from_der(decoded(public.get("rawBytes"), "a log's key"))
                id = decoded(part(log, "logId").get("keyId"), "a log's id")
                span = part(public, "validFor")
                if "start" not in span:
                    raise ValueError("a log of the trust roots does not say since when it is trusted")
                logs[id] = Log(id, key, _span(span))
        except NotValid as error:
            raise ValueError(str(error)) from None
        return cls(f"sha256:{hashlib.sha256(raw).hexdigest()}", signers, logs, stampers)

    def at(self, moment: datetime) -> tuple[Sequence[x509.Certificate], Sequence[x509.Certificate]]:
        """The roots that are trusted at that time, and their intermediate certificates."""
        trusted = [authority for authority in self.authorities if authority.trusted.holds(moment)]
        return [a.root for a in trusted], [each for a in trusted for each in a.between]


def _authority(entry: Json) -> Authority:
    chain = [
        x509.load_der_x509_certificate(decoded(mapping(each).get("rawBytes"), "a certificate"))
        for each in items(part(entry, "certChain"), "certificates")
    ]
    if not chain:
        raise ValueError("an authority of the trust roots has no certificate")
    return Authority(chain[-1], tuple(chain[:-1]), _span(part(entry, "validFor")))


def _span(span: Mapping[str, object]) -> Span:
    return Span(_time(span.get("start")) or datetime.fromtimestamp(0, UTC), _time(span.get("end")))


def _time(text: object) -> datetime | None:
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError("a time of the trust roots is not a string")  # noqa: TRY004 (of what the file says)
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
