"""Creates repositories in targets. ECR needs two calls, for settings and policy; a crash between them is repaired."""

from contextlib import suppress

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository
from tallyman.domain.policy import Create, Policy, Runs
from tallyman.domain.policy.create import Push
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.records import State
from tallyman.ports.registries import ImageTarget, RegistryView
from tallyman.state.creations import CREATIONS, Creation, key
from tallyman.state.items import Entry
from tallyman.values import value


@value
class Creations:
    """Creates missing repositories, and finishes those left between the two calls. A policy that others set stays."""

    policy: Policy
    registries: RegistryView
    target: ImageTarget
    state: State
    clock: Clock

    def create(self, place: Repository, environment: str, name: str) -> RepositorySettings:
        """Create the repository of this canonical name in one registry of the environment, as the policy says; return
        its settings. May be repeated.

        Cost: CreateRepository; where the policy says who may pull or push there, also GetRepositoryPolicy,
        SetRepositoryPolicy, a read and two writes.
        """
        create = self.policy.repository(name).create
        push, functions = pushers_of(self.policy, environment, name), moves_functions(self.policy, environment, name)
        noted = self._note(place, environment, name) if self._has_policy(environment, name) else None
        settings = settings_of(create, place)
        self.target.create(settings, create.pull, push, functions)
        if noted is not None:
            with suppress(RevisionConflict):  # another worker creates it too, and removes the note
                self.state.put(noted.remove(self.clock()))
        return settings

    def is_unfinished(self, place: Repository, environment: str, name: str) -> bool:
        """Whether its creation was begun and its policy was not set. One read; none where it needs no policy."""
        return self._has_policy(environment, name) and CREATIONS.get(self.state, key(place)) is not None

    def finish(self, place: Repository) -> str:
        """Finish an abandoned creation at reconcile's hint. Return the line for the log."""
        entry = CREATIONS.read(self.state, key(place))
        if entry.found is None:
            return "nothing to do: it was finished"
        environment, name = entry.found.environment, entry.found.name
        wanted = environment in self.policy.environments and self.policy.is_target(environment, name)
        if not wanted or self.registries.settings(place) is None:  # removed since, or never there
            with suppress(RevisionConflict):
                self.state.put(entry.remove(self.clock()))
            return "nothing to do: there is no such repository"
        self.create(place, environment, name)
        return f"{place} has its policy"

    def _has_policy(self, environment: str, name: str) -> bool:
        create = self.policy.repository(name).create
        only = pushers_of(self.policy, environment, name) is not None
        return bool(create.pull) or only or moves_functions(self.policy, environment, name)

    def _note(self, place: Repository, environment: str, name: str) -> Entry[Creation] | None:
        """Note the creation before the first call, so that reconcile finds a repository that a crash left without its
        policy. Return the note's entry; None: another worker noted it first, and removes the note."""
        entry = CREATIONS.read(self.state, key(place))
        creation = Creation(environment, name, self.clock())
        try:
            self.state.put(entry.write(creation))
        except RevisionConflict:
            return None
        return entry.written(creation)


def pushers_of(policy: Policy, environment: str, repository: str) -> tuple[str, ...] | None:
    """The roles that may push there besides our own, as `role/NAME`; None: the policy leaves that to IAM."""
    create = policy.repository(repository).create
    if create.push is not Push.TALLYMAN_ONLY or not policy.is_target(environment, repository):
        return None
    return (create.break_glass,) if create.break_glass else ()


def moves_functions(policy: Policy, environment: str, repository: str) -> bool:
    """Whether releases of the repository move Lambda functions in the environment: Lambda has to be allowed to pull."""
    rollout = policy.environment(environment).rollout
    return any(s.runs is Runs.LAMBDA and s.repository == repository for s in (rollout.services if rollout else ()))


def settings_of(create: Create, place: Repository) -> RepositorySettings:
    """The settings that the policy requires for this repository."""
    return RepositorySettings(
        repository=place,
        immutable=create.immutable,
        mutable_tags=create.mutable_tags if create.immutable else (),
        encryption=create.encryption,
        kms_key=create.kms_key,
        scan_on_push=create.scan_on_push,
    )
