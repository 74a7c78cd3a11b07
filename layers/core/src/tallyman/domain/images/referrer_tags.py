"""The tag `sha256-<hex>`, at which registries without a referrers API list what points at a subject (OCI 1.1)."""

import re

from tallyman.domain.images.manifest import OCI_INDEX, Manifest
from tallyman.domain.names import Digest
from tallyman.errors import BadManifest

_TAG = re.compile(r"sha256-([0-9a-f]{64})")


def tag_of(subject: Digest) -> str:
    """The tag at which the referrers of a subject are listed."""
    return f"sha256-{subject.hex}"


def subject_of(tag: str) -> Digest | None:
    """The subject whose referrers such a tag lists, unless it is an image's own; None: it is another tag."""
    found = _TAG.fullmatch(tag)
    return Digest(f"sha256:{found[1]}") if found else None


def may_be_list(manifest: Manifest | None, subject: Digest) -> bool:
    """Whether what a registry answers for the subject's tag can be a list of referrers: an index without platforms.
    Some registries (GitLab) answer the subject itself, and an image may have such a tag."""
    if manifest is None or manifest.digest == subject:
        return False
    try:
        found = Manifest.parse(manifest.raw, manifest.media_type or None)
    except BadManifest:  # an entry is odd
        return manifest.media_type == OCI_INDEX
    return found.media_type == OCI_INDEX and not any(child.platform for child in found.children)
