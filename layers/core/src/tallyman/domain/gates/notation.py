"""Signers of Notation that a policy trusts: subjects of certificates, and signing profiles of AWS Signer."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from tallyman.domain.gates.subjects import is_meant, parse_trusted
from tallyman.domain.history.details.referrers import Origin
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Key, ListOf, Record, Schema, String
from tallyman.domain.times import parse_time
from tallyman.values import value

FORM = "notation"
"""`Origin.form` of a signature of Notation."""
ROOTS = "notation:"
"""Prefix of the digest of Notation's trust stores, in `Origin.roots` and `Policy.roots`."""


@value
class NotationSigner:
    """A signer, by either `subject` or `profile`. `subject`: parts that the certificate's subject must have; `profile`:
    the ARN of a signing profile of AWS Signer, or of one version of it. `root`: `sha256:<hex>` of the trusted
    certificate; None: any."""

    subject: str | None = None
    profile: str | None = None
    root: str | None = None

    def __str__(self) -> str:
        return name_of(self.words)

    @property
    def words(self) -> Mapping[str, str]:
        """The keys that the policy gives."""
        pairs = (("subject", self.subject), ("profile", self.profile), ("root", self.root))
        return {key: text for key, text in pairs if text is not None}

    def is_of(self, identity: Mapping[str, str]) -> bool:
        """Whether a verified signature with this identity, {subject, root} or {profile, root}, is by this signer."""
        if self.root not in (None, identity.get("root")):
            return False
        if self.profile is not None:
            version = identity.get("profile", "")
            return self.profile in (version, version.rpartition("/")[0])
        return "subject" in identity and is_meant(self.subject or "", identity["subject"])


def split_roots(roots: str | None) -> tuple[str | None, str | None]:
    """The two parts of `Policy.roots`: the digests of Sigstore's file and of Notation's trust stores; None: missing."""
    parts = (roots or "").split(",")
    notation = next((each for each in parts if each.startswith(ROOTS)), None)
    return next((each for each in parts if each and not each.startswith(ROOTS)), None), notation


def name_of(identity: Mapping[str, str]) -> str:
    """An identity, for people."""
    return f"profile {identity['profile']}" if "profile" in identity else identity.get("subject", "")


def notation_signer(trusted: Iterable[NotationSigner], origin: Origin) -> str | None:
    """The trusted signer of this verified signature, for people; None: none of them."""
    found = origin.identity or {}
    return name_of(found) if any(each.is_of(found) for each in trusted) else None


def holds(origin: Origin, now: datetime) -> bool:
    """Whether the verdict about a signature is still valid, so that it need not be verified again."""
    return origin.until is None or now <= parse_time(origin.until)


class _Signer:
    """A signer by either a subject or a profile."""

    _record = Record(
        {
            "subject": Key(
                String(what="the subject of a certificate", build=lambda text: parse_trusted(text) and text),
                "Parts that the certificate's subject must contain, including C, ST and O.",
            ),
            "profile": Key(
                String(
                    r"arn:[a-z-]+:signer:[a-z0-9-]+:[0-9]{12}:/signing-profiles/[A-Za-z0-9_]{2,64}(/[A-Za-z0-9]+)?",
                    "the ARN of a signing profile of AWS Signer, or of a version of it",
                ),
                "The ARN of a signing profile of AWS Signer, or of one version of it.",
            ),
            "root": Key(
                String(r"sha256:[0-9a-f]{64}", "sha256: and 64 digits"),
                "The SHA-256 of the trusted certificate (DER) to chain to; default: any in the trust store.",
            ),
        },
        NotationSigner,
        expected='a signer of Notation, as in {subject: "C=US, ST=WA, O=Rocketseat"}',
    )

    def read(self, node: Node) -> NotationSigner:
        signer: NotationSigner = self._record.read(node)
        if (signer.subject is None) == (signer.profile is None):
            raise node.wrong("expected either a subject or a profile")
        return signer

    def schema(self) -> Schema:
        return {**self._record.schema(), "oneOf": [{"required": ["subject"]}, {"required": ["profile"]}]}


NOTATION = Key(
    ListOf(_Signer(), least=1),
    "Signers that use Notation: subjects of certificates, and signing profiles of AWS Signer.",
)
