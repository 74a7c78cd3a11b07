"""The tag `sha256-<hex>` for the list of a subject's referrers in registries without a referrers API (OCI 1.1)."""

import re

from tallyman.domain.images.manifest import OCI_INDEX, Manifest
from tallyman.domain.names import Digest
from tallyman.errors import BadManifest

_TAG = re.compile(r"sha256-([0-9a-f]{64})")


def tag_of(subject: Digest) -> str:
    """The tag of the list of a subject's referrers."""
    return f"sha256-{subject.hex}"


def subject_of(tag: str) -> Digest | None:
    """The subject of such a tag; None: another tag. An image may have such a tag by chance (see `may_be_list`)."""
    found = _TAG.fullmatch(tag)
    return Digest(f"sha256:{found[1]}") if found else None


def may_be_list(manifest: Manifest | None, subject: Digest) -> bool:
    """Whether the manifest at the subject's tag can be a list of referrers: an index without platforms. Some registries
    (GitLab) return the subject itself, and an image may have such a tag."""
    if manifest is None or manifest.digest == subject:
        return False
    try:
        found = Manifest.parse(manifest.raw, manifest.media_type or None)
    except BadManifest:  # an entry of the list is wrong
        return manifest.media_type == OCI_INDEX
    return found.media_type == OCI_INDEX and not any(child.platform for child in found.children)
