"""Checks over several keys of a policy: rules that contradict each other, and rules that can never apply."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from tallyman.domain.images.versions import parse_version
from tallyman.domain.names import EcrRegistry
from tallyman.domain.partitions import partition_of
from tallyman.domain.policy.create import Encryption, Push
from tallyman.domain.policy.environments import NAME, Environment, Replicate
from tallyman.domain.policy.gates import ALWAYS_OVERRIDABLE
from tallyman.domain.policy.keep import KeepNewerThan, KeepNewest, KeepTag
from tallyman.domain.policy.promotions import Promotion
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.repositories import RepositoryRule
from tallyman.domain.policy.retention import Retention
from tallyman.domain.policy.tags import glob_covers

MOST_DESTINATIONS = 25
"""The most destinations of a registry's replication. Source:
https://docs.aws.amazon.com/AmazonECR/latest/userguide/replication.html"""


def check_environments(node: Node, environments: Mapping[str, Environment]) -> None:
    """Report repeated registries, and environments that can't be distinguished. Time linear in the number of registries
    and of characters in `repository`."""
    variables: dict[str, Environment] = {}
    held: dict[EcrRegistry, _Templates] = {}
    for environment in environments.values():
        path = (*node.path, environment.name)
        seen: set[EcrRegistry] = set()
        for index, registry in enumerate(environment.registries):
            if registry in seen:
                node.wrong(f"registry {registry} is listed twice", (*path, "registries", index))
            seen.add(registry)
        alike = variables.setdefault(_variable(environment.name), environment)
        if alike is not environment:
            node.wrong(f"the names '{alike.name}' and '{environment.name}' differ only in case, _ or -", path)
        _check_replication(node, environment)
        reported: set[str] = set()
        for registry in seen:
            others = held.setdefault(registry, _Templates())
            other = others.colliding(environment)
            others.add(environment)
            if other is not None and other.name not in reported:
                reported.add(other.name)
                node.wrong(
                    f"a repository in {registry} could belong to '{other.name}' ({other.repository}) as well as to "
                    f"'{environment.name}' ({environment.repository}): give one of them a 'repository' of its own, "
                    f'such as "{environment.name.lower()}/{NAME}"',
                    path,
                )


def _check_replication(node: Node, environment: Environment) -> None:
    if environment.replicate is not Replicate.NATIVE:
        return
    key = node.child(environment.name, environment).child("replicate", environment.replicate)
    if not environment.replicas:
        key.warn("has no effect: the environment has only one registry")
    if len(environment.replicas) > MOST_DESTINATIONS:
        count = len(environment.replicas)
        key.wrong(f"ECR replicates to at most {MOST_DESTINATIONS} registries, found {count} beside the first")
    first = partition_of(environment.registries[0].region)
    for registry in environment.replicas:
        if partition_of(registry.region) is not first:
            key.wrong(f"ECR does not replicate to another partition of AWS: {registry} is in another than the first")


def _variable(name: str) -> str:
    # the local cloud exports TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>
    return name.upper().replace("-", "_")


class _Templates:
    """An index of the `repository` templates of environments that share a registry, by which a collision is found in
    one lookup per character.

    Two templates collide where a name may match both and neither is more specific: they are equal, or one has the
    longer beginning and the other the longer end, as a/{name} and {name}/b. `{name}` and `prod/{name}` do not collide.
    """

    def __init__(self) -> None:
        self._equal: dict[tuple[str, str], Environment] = {}
        self._longer_end: dict[tuple[str, str], Environment] = {}  # by beginning, and each shorter end
        self._longer_beginning: dict[tuple[str, str], Environment] = {}  # by each shorter beginning, and end

    def add(self, environment: Environment) -> None:
        head, tail = _parts(environment)
        self._equal.setdefault((head, tail), environment)
        for shorter in _ends(tail):
            self._longer_end.setdefault((head, shorter), environment)
        for shorter in _beginnings(head):
            self._longer_beginning.setdefault((shorter, tail), environment)

    def colliding(self, environment: Environment) -> Environment | None:
        """An environment that was added and collides with this one; None: none does."""
        head, tail = _parts(environment)
        if (equal := self._equal.get((head, tail))) is not None:
            return equal
        found = [self._longer_end.get((shorter, tail)) for shorter in _beginnings(head)]
        found += [self._longer_beginning.get((head, shorter)) for shorter in _ends(tail)]
        return next((each for each in found if each is not None), None)


def _parts(environment: Environment) -> tuple[str, str]:
    head, _, tail = environment.repository.partition(NAME)
    return head, tail


def _beginnings(text: str) -> list[str]:
    """Every prefix that is shorter than the text."""
    return [text[:length] for length in range(len(text))]


def _ends(text: str) -> list[str]:
    """Every suffix that is shorter than the text."""
    return [text[len(text) - length :] for length in range(len(text))]


def check_repositories(node: Node, rules: Sequence[RepositoryRule | None]) -> None:
    """Report entries that an earlier entry hides, and contradictions within an entry."""
    for index, rule in enumerate(rules):
        if rule is None:
            continue
        entry = node.child(index, rule)
        hiding = next((i for i, r in enumerate(rules[:index]) if r and glob_covers(r.match, rule.match)), None)
        if hiding is not None:
            entry.wrong(
                f"'{rule.match}' never applies: {node.key}[{hiding}] ('{rules[hiding].match}') "  # type: ignore[union-attr]
                "matches all its repositories, and the first entry that matches counts; put the narrower one first",
                (*entry.path, "match"),
            )
        _check_rule(entry, rule)


def _check_rule(entry: Node, rule: RepositoryRule) -> None:
    create = entry.child("create", rule.create)
    if rule.create.kms_key and rule.create.encryption is Encryption.AES256:
        create.wrong("a kms_key needs encryption: KMS or KMS_DSSE, found AES256", (*create.path, "kms_key"))
    if rule.create.break_glass and rule.create.push is not Push.TALLYMAN_ONLY:
        create.child("break_glass", rule.create.break_glass).warn("has no effect without push: tallyman-only")
    if rule.tags.texts and rule.tags.common_tag() is None:
        entry.wrong(f"no tag can match all of: {rule.tags}", (*entry.path, "tags", "allow"))
    _check_retention(entry.child("retention", rule.retention), rule.retention)
    promotions = entry.child("promotions", rule.promotions)
    for index, promotion in enumerate(rule.promotions):
        _check_promotion(promotions.child(index, promotion), rule, promotion)
    ways: dict[tuple[str, str], list[tuple[int, Promotion]]] = {}
    for number, promotion in enumerate(rule.promotions):
        ways.setdefault((promotion.source, promotion.target), []).append((number, promotion))
    for way in ways.values():
        for (i, first), (j, second) in combinations(way, 2):
            tag = first.tags.common_tag(second.tags)
            if tag is not None:
                promotions.child(j, second).wrong(
                    f"contradicts {promotions.key}[{i}]: both are from {first.source} to {first.target}, and both "
                    f"allow the tag {tag}"
                )
    if circle := _circle(rule.promotions):
        promotions.wrong(f"the promotions form a circle: {' → '.join(circle)}")


def _check_retention(node: Node, retention: Retention) -> None:
    keep = node.child("keep", retention.keep)
    if retention.keep == () and retention.enforce:
        keep.wrong("an empty list keeps no tagged image, and enforce is on: name what to keep, or leave keep out")
    for index, rule in enumerate(retention.keep or ()):
        child = keep.child(index, rule)
        tags = rule.of if isinstance(rule, KeepNewest) else rule.tags if isinstance(rule, KeepTag) else None
        if tags is not None and tags.common_tag() is None:
            child.wrong(f"no tag can match all of: {tags}")
        for number, other in enumerate(retention.keep[:index] if retention.keep else ()):
            newest = isinstance(rule, KeepNewest) and isinstance(other, KeepNewest)
            if (newest and (rule.of, rule.per) == (other.of, other.per)) or (  # type: ignore[union-attr]
                isinstance(rule, KeepNewerThan)
                and isinstance(other, KeepNewerThan)
                and rule.counted_from is other.counted_from
            ):
                child.wrong(f"contradicts {keep.key}[{number}]: both set a limit for the same images")
    if retention.enforce and not retention.removes:
        node.child("enforce", True).warn("has no effect: neither keep nor untagged is given, so nothing is removed")
    if retention.enforce and 0 in (retention.at_most, retention.at_most_images):
        node.child("at_most", retention.at_most).wrong(
            "contradicts enforce: true: with a limit of 0, no image is ever removed"
        )


def _check_promotion(node: Node, rule: RepositoryRule, promotion: Promotion) -> None:
    if promotion.source == promotion.target:
        node.wrong(f"a promotion from '{promotion.source}' to itself", (*node.path, "to"))
    overridable = node.child("overridable", promotion.overridable)
    for index, name in enumerate(promotion.overridable):
        if name not in promotion.gates and name not in ALWAYS_OVERRIDABLE:
            overridable.child(index, name).warn(f"has no effect: '{name}' is not a gate of this promotion")
    if not promotion.tags.texts:
        return
    tags = node.child("tags", promotion.tags)
    if promotion.tags.common_tag() is None:
        tags.wrong(f"no tag can match all of: {promotion.tags}")
    elif promotion.tags.common_tag(rule.tags) is None:
        tags.warn(f"no tag of {promotion.tags} is allowed by the repository's tags.allow ({rule.tags})")
    else:
        for name in promotion.tags.names:
            if not promotion.tags.allows(name):
                what = (
                    "is outside its ranges" if parse_version(name) else "is not a version, and a range holds only those"
                )
                tags.warn(f"'{name}' can never match: it {what}")


def _circle(promotions: Sequence[Promotion]) -> list[str] | None:
    """The environments of a circle of promotions, with the first repeated at the end; None: there is none. Leaves out
    promotions to their own source, which `_check_promotion` reports."""
    steps: dict[str, list[str]] = {}
    for p in promotions:
        if p.source != p.target:
            steps.setdefault(p.source, []).append(p.target)
    done: set[str] = set()
    for start in steps:
        way: dict[str, None] = {}
        waiting = [(start, iter(steps[start]))] if start not in done else []
        way[start] = None
        while waiting:
            environment, following = waiting[-1]
            to = next(following, None)
            if to is None:
                waiting.pop()
                way.pop(environment)
                done.add(environment)
            elif to in way:
                names = list(way)
                return [*names[names.index(to) :], to]
            elif to not in done:
                way[to] = None
                waiting.append((to, iter(steps.get(to, ()))))
    return None
