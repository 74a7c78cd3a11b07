"""Hints to verify_origin, sent after a push of an image or of something that may be its signature."""

from tallyman.domain.gates.check import functions_of
from tallyman.domain.gates.signers import signers_of
from tallyman.domain.images.signatures import subject_of
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.ports.messages import Hints


def hint_origin(policy: Policy, hints: Hints, repository: Repository, digest: Digest, tag: str | None = None) -> None:
    """Ask verify_origin to verify the signatures of an image. `digest`: the image or a referrer of it; of cosign's
    signatures, which have no subject, `tag` names the image. Cost: a message; nothing where no promotion from there
    asks for signers or has a check with a function.
    """
    promotions = policy.promotions_out_of(repository)
    if signers_of(promotions) or functions_of(promotions):
        image = subject_of(tag) or digest
        hints.send("origin", {"verify_origin": {"repository": str(repository), "digest": image}})
