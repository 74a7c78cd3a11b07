"""Which referrers are signatures, the tags under which cosign stores signatures, and the rules of verification."""

import re
from collections.abc import Sequence

from tallyman.domain.names import Digest

RULES = 1
"""The number of the rules by which signatures are verified. Raise it with each change after which a signature, its
claims or its VEX may get another verdict (`tallyman_origin`, `claims`, `vex`): each verdict is then made once more."""
NOTATION = "application/vnd.cncf.notary.signature"
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
COSIGN = ("application/vnd.dev.cosign.artifact.sig.v1+json", SIMPLE_SIGNING)
BUNDLE = "application/vnd.dev.sigstore.bundle"
"""Prefix of the type of Sigstore's bundles: signatures, unless they hold a predicate of another type."""
SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/"
_TAG = re.compile(r"sha256-([0-9a-f]{64})\.sig")


def is_signature(artifact_type: str | None, predicates: Sequence[str] | None) -> bool:
    """Whether a referrer of this artifact type, with statements of these predicate types, is a signature."""
    kind = artifact_type or ""
    if kind.startswith(BUNDLE):
        return all(str(p).startswith(SIGN_PREDICATE) for p in predicates or ())
    return kind == NOTATION or kind in COSIGN


def tag_of(subject: Digest) -> str:
    """The tag under which cosign stores the signatures of an image."""
    return f"sha256-{subject.hex}.sig"


def subject_of(tag: str | None) -> Digest | None:
    """The image whose signatures cosign stores under this tag; None: it is another tag."""
    found = _TAG.fullmatch(tag or "")
    return Digest(f"sha256:{found[1]}") if found else None
