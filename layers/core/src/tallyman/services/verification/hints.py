"""Hints to verify_origin, after each push of what may be a signed image or a signature."""

from tallyman.domain.gates.signers import signers_of
from tallyman.domain.images.signatures import subject_of
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.ports.messages import Hints


def hint_origin(policy: Policy, hints: Hints, repository: Repository, digest: Digest, tag: str | None = None) -> None:
    """Asks for the signatures of an image to be verified; `digest`: the image, or what refers to it. cosign's tag names
    the image, for its signatures name none. Costs a message; nothing where no promotion from there asks for signers.
    """
    if signers_of(policy, repository):
        image = subject_of(tag) or digest
        hints.send("origin", {"verify_origin": {"repository": str(repository), "digest": image}})
