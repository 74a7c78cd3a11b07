"""The repositories of registries, for checks that look at the same registry several times."""

from collections.abc import Callable, Sequence
from functools import cache

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import EcrRegistry
from tallyman.ports.registries import RegistryView

Listing = Callable[[EcrRegistry], Sequence[RepositorySettings]]


def listing(view: RegistryView) -> Listing:
    """The repositories of a registry with their settings. Cost: the first call for a registry lists it, others nothing;
    a call that fails is not remembered."""
    return cache(lambda registry: tuple(view.repositories(registry)))
