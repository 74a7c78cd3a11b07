"""The words of a policy, as values that can't change. `parse.py` reads them from a file."""

import hashlib
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Self

from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.policy.durations import format_duration
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.tags import ANY_TAG, TagRule, glob_matches
from tallyman.domain.values import dataclass
from tallyman.errors import BadName

NAME = "{name}"  # stands for the canonical name in an environment's `repository`
IMPLIED_ENVIRONMENT = "main"  # the hub's registry, where a policy names no environment


class Runs(StrEnum):
    """What runs images that a release can move."""

    ECS = "ecs"
    LAMBDA = "lambda"


@dataclass(frozen=True, slots=True)
class Service:
    """What runs a repository's image in each registry's account and region: an ECS service (`cluster/service`) and
    the container that is moved (None: the only one), or a Lambda function and its alias."""

    runs: Runs
    name: str
    repository: str
    container: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.runs} {self.name}"


@dataclass(frozen=True, slots=True)
class RollOut:
    """What a release moves, registry by registry in the environment's order, with a pause between them."""

    services: tuple[Service, ...]
    pause: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Environment:
    """A named list of registries that hold the same images.

    `repository` says what a repository is called here: `{name}` is its canonical name, the one that policies,
    people and promotions use; `prod/{name}` renames it on the way in.
    """

    name: str
    registries: tuple[Registry, ...]
    repository: str = NAME
    rollout: RollOut | None = None

    def repository_name(self, canonical: str) -> str:
        """What the repository of this canonical name is called in this environment's registries."""
        return self.repository.replace(NAME, canonical)

    def canonical_name(self, repository: str) -> str | None:
        """The canonical name of a repository of this environment; None if it is not named as the environment says."""
        before, _, after = self.repository.partition(NAME)
        if not (repository.startswith(before) and repository.endswith(after)):
            return None
        return repository[len(before) : len(repository) - len(after)] or None

    def repositories(self, canonical: str) -> tuple[Repository, ...]:
        """The repository of this canonical name in each registry, in the policy's order."""
        return tuple(Repository(registry, self.repository_name(canonical)) for registry in self.registries)

    @property
    def specificity(self) -> int:
        """How many characters of `repository` are fixed."""
        return len(self.repository) - len(NAME)


class Encryption(StrEnum):
    """ECR's ways to encrypt at rest."""

    AES256 = "AES256"
    KMS = "KMS"
    KMS_DSSE = "KMS_DSSE"


class Push(StrEnum):
    """Who may push into a repository that a promotion fills."""

    ANYONE = "anyone"
    TALLYMAN_ONLY = "tallyman-only"


@dataclass(frozen=True, slots=True)
class Create:
    """How a repository is created, and what `reconcile` compares an existing one with.

    `mutable_tags`: globs of tags that may move although `immutable`; ECR takes at most five. `pull`: accounts that
    may pull. `push`: with `tallyman-only`, the repository policy of an environment that a promotion fills lets
    nobody else push but the role `break_glass` (`role/NAME` of the repository's account); `anyone` leaves it to IAM.
    """

    immutable: bool = True
    mutable_tags: tuple[str, ...] = ()
    encryption: Encryption = Encryption.AES256
    kms_key: str | None = None
    scan_on_push: bool = True
    pull: tuple[str, ...] = ()
    push: Push = Push.ANYONE
    break_glass: str | None = None

    def may_move(self, tag: str) -> bool:
        """Whether a repository created so lets the tag move."""
        return not self.immutable or any(glob_matches(glob, tag) for glob in self.mutable_tags)


class Layers(StrEnum):
    """How far verification goes into layers."""

    PRESENCE = "presence"  # each is there, with the size that the manifest states
    CONTENT = "content"  # each is also read and hashed


@dataclass(frozen=True, slots=True)
class Verify:
    """`platforms`: those that an image must offer, as `os/architecture[/variant]`; empty: any."""

    layers: Layers = Layers.CONTENT
    platforms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Promotion:
    """Tags that go from one environment to another, once every gate is passed. `gates` by their key, in the file's
    order. `tags` is the repository's own `tags.allow` where the promotion names none. `overridable`: gates that
    people may override. `give_up`: how long one that keeps failing is tried again.
    """

    source: str
    target: str
    tags: TagRule = ANY_TAG
    gates: Mapping[str, GateConfig] = field(default_factory=dict)
    overridable: tuple[str, ...] = ()
    give_up: timedelta = timedelta(hours=24)


class Per(StrEnum):
    """Of which versions `newest` counts its number."""

    MAJOR = "major"
    MINOR = "minor"


class CountedFrom(StrEnum):
    """From when an image's age counts. All but `push` count from the push where they never happened."""

    PUSH = "push"  # of the image: it stays what it was when a tag is added or moved
    TAG_MOVE = "tag_move"  # the last time that a tag was set to it
    PULL = "pull"
    RELEASE = "release"  # the last time that an environment was set to run it


@dataclass(frozen=True, slots=True)
class KeepNewest:
    """Keep the `count` newest images of the tags that `of` lets in; with `per`, of each major or minor version."""

    count: int
    of: TagRule
    per: Per | None = None

    def __str__(self) -> str:
        of = "" if self.of is ANY_TAG else f" of {self.of}"
        return f"the {self.count} newest{of}" + (f" per {self.per} version" if self.per else "")


@dataclass(frozen=True, slots=True)
class KeepNewerThan:
    """Keep what is younger than `age`, counted from `counted_from`."""

    age: timedelta
    counted_from: CountedFrom = CountedFrom.PUSH

    def __str__(self) -> str:
        return f"newer than {format_duration(self.age)}, counted from the last {self.counted_from.replace('_', ' ')}"


@dataclass(frozen=True, slots=True)
class KeepTag:
    """Keep the tags that `tags` lets in."""

    tags: TagRule

    def __str__(self) -> str:
        return f"tags {self.tags}"


@dataclass(frozen=True, slots=True)
class KeepMatches:
    """Keep the tags that the whole of the expression matches."""

    matches: Expression

    def __str__(self) -> str:
        return f"tags that match {self.matches.text}"


Keep = KeepNewest | KeepNewerThan | KeepTag | KeepMatches


class Removal(StrEnum):
    """What is done with what is not kept."""

    REMOVE = "remove"
    ARCHIVE = "archive"  # moved to ECR's archive storage class, from which it can be restored


@dataclass(frozen=True, slots=True)
class Retention:
    """What stays. `keep` None: every tagged image stays. `at_least`: so many of the newest tagged images stay whatever
    the rules say. `roll_back`: how long what was released can still be rolled back to. `usage`: digests, tags and globs
    of tags that something runs which no source of usage tells. `at_most`: percent of a repository in one run.
    """

    keep: tuple[Keep, ...] | None = None
    at_least: int = 0
    untagged_remove_after: timedelta | None = None
    pulled_within: timedelta | None = None
    roll_back: timedelta = timedelta(days=30)
    usage: tuple[str, ...] = ()
    grace: timedelta = timedelta(days=7)
    at_most: int = 20
    at_most_images: int | None = None
    action: Removal = Removal.REMOVE
    enforce: bool = False

    @property
    def removes(self) -> bool:
        """Whether there is anything that it could ever remove."""
        return self.keep is not None or self.untagged_remove_after is not None

    def too_many(self, removed: int, total: int) -> str | None:
        """Why a run must not remove so many of `total` images; None: it may."""
        if self.at_most_images is not None and removed > self.at_most_images:
            return f"{removed} images would go: more than at_most_images, {self.at_most_images} in one run"
        if removed * 100 > self.at_most * total:
            share = f"{removed * 100 / total:.0f} %"
            return f"{removed} of {total} images would go ({share}): more than at_most, {self.at_most}% in one run"
        return None


@dataclass(frozen=True, slots=True)
class RepositoryRule:
    """What holds for the repositories whose canonical name `match` matches."""

    match: str
    create: Create = Create()
    tags: TagRule = ANY_TAG
    verify: Verify = Verify()
    promotions: tuple[Promotion, ...] = ()
    retention: Retention = Retention()


@dataclass(frozen=True, slots=True)
class People:
    """Who may send which command: names such as `role/release-managers`; None: whomever IAM lets send one."""

    promote: tuple[str, ...] | None = None
    approve: tuple[str, ...] | None = None
    override: tuple[str, ...] | None = None
    freeze: tuple[str, ...] | None = None
    recall: tuple[str, ...] | None = None

    def allowed(self, command: str) -> tuple[str, ...] | None:
        """Who may send this command; None where the policy has no entry for it, or knows no such command.

        Who may approve may deny, who may freeze may thaw, who may promote may roll back. Without an entry of its own,
        `override` is for those who may promote.
        """
        entry = {"deny": "approve", "thaw": "freeze", "roll-back": "promote"}.get(command, command)
        if entry == "override" and self.override is None:
            entry = "promote"
        found: tuple[str, ...] | None = getattr(self, entry, None) if entry in self.__slots__ else None
        return found


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. `digest` is the SHA-256 of `raw`, the file's bytes; decisions carry it.

    A repository follows the **first** entry of `repositories` that matches its canonical name; one that none
    matches follows the defaults: record, verify, watch scans, promote nothing.
    """

    environments: Mapping[str, Environment] = field(default_factory=dict)
    repositories: tuple[RepositoryRule, ...] = ()
    people: People = People()
    raw: bytes = field(default=b"", repr=False)
    source: str = "tallyman.yaml"
    warnings: tuple[str, ...] = ()
    digest: Digest = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", Digest("sha256:" + hashlib.sha256(self.raw).hexdigest()))

    @classmethod
    def parse(
        cls,
        data: object,
        positions: Mapping[tuple[str | int, ...], int] | None = None,
        *,
        name: str = "tallyman.yaml",
        raw: bytes = b"",
    ) -> "Policy":
        """From plain data (what a YAML or JSON reader gives); see `parse_policy`."""
        from tallyman.domain.policy.parse import parse_policy  # parse builds this class

        return parse_policy(data, positions, name=name, raw=raw)

    def repository(self, name: str) -> RepositoryRule:
        """The rule of the repository of this canonical name."""
        return next((r for r in self.repositories if glob_matches(r.match, name)), RepositoryRule(match=name))

    def environment(self, name: str) -> Environment:
        """The environment of this name; raises BadName, with the nearest name that there is."""
        try:
            return self.environments[name]
        except KeyError:
            near = get_close_matches(name, self.environments, 1)
            there = f"did you mean '{near[0]}'?" if near else f"there is {', '.join(self.environments) or 'none'}"
            raise BadName(f"'{name}' is no environment of the policy ({self.source}): {there}") from None

    def environments_of(self, registry: Registry, repository: str) -> tuple[tuple[Environment, str], ...]:
        """The environments that this repository of this registry belongs to, each with its canonical name.

        Where one registry holds several environments, a repository belongs to the one whose `repository` has the
        most fixed characters: with dev `{name}` and prod `prod/{name}`, `prod/app` is prod's `app` and not dev's
        `prod/app`. So there is one or none.
        """
        found = [
            (environment, canonical)
            for environment in self.environments.values()
            if registry in environment.registries and (canonical := environment.canonical_name(repository))
        ]
        return tuple(sorted(found, key=lambda pair: -pair[0].specificity)[:1])

    def promotions_from(self, environment: str, repository: str) -> tuple[Promotion, ...]:
        """The promotions out of this environment of the repository of this canonical name, in the file's order."""
        return tuple(p for p in self.repository(repository).promotions if p.source == environment)

    def promotion(self, source: str, target: str, repository: str, tag: str) -> Promotion | None:
        """The first promotion from source to target whose tags let this tag in."""
        rules = self.promotions_from(source, repository)
        return next((p for p in rules if p.target == target and p.tags.allows(tag)), None)

    def is_target(self, environment: str, repository: str) -> bool:
        """Whether a promotion fills this environment for the repository of this canonical name."""
        return any(p.target == environment for p in self.repository(repository).promotions)

    def registries(self) -> tuple[Registry, ...]:
        """Every registry of every environment once, in the file's order."""
        return tuple(dict.fromkeys(r for e in self.environments.values() for r in e.registries))

    def accounts(self) -> tuple[str, ...]:
        """The account of every registry once, in the file's order."""
        return tuple(dict.fromkeys(registry.account for registry in self.registries()))

    def for_hub(self, hub: Registry) -> Self:
        """This policy; where it names no environment, with one called `main` that is the hub's registry."""
        if self.environments:
            return self
        return replace(self, environments={IMPLIED_ENVIRONMENT: Environment(IMPLIED_ENVIRONMENT, (hub,))})
