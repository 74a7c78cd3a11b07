"""Hints to verify_origin, after each push of what may be a signed image or a signature."""

from tallyman.domain.gates.check import functions_of
from tallyman.domain.gates.signers import signers_of
from tallyman.domain.images.signatures import subject_of
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy, Promotion
from tallyman.ports.messages import Hints


def promotions_of(policy: Policy, repository: Repository) -> list[Promotion]:
    """The promotions out of the repository."""
    return [
        promotion
        for environment, name in policy.environments_of(repository.registry, repository.name)
        for promotion in policy.promotions_from(environment.name, name)
    ]


def hint_origin(policy: Policy, hints: Hints, repository: Repository, digest: Digest, tag: str | None = None) -> None:
    """Asks for the signatures of an image to be verified; `digest`: the image, or what refers to it. cosign's tag names
    the image, for its signatures name none. Costs a message; nothing where no promotion from there asks for signers, or
    has a check that asks a function.
    """
    promotions = promotions_of(policy, repository)
    if signers_of(promotions) or functions_of(promotions):
        image = subject_of(tag) or digest
        hints.send("origin", {"verify_origin": {"repository": str(repository), "digest": image}})
