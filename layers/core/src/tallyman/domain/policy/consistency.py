"""What no single key shows: rules that contradict each other, and rules that can never do anything."""

from collections.abc import Mapping, Sequence
from itertools import combinations

from tallyman.domain.images.versions import parse_version
from tallyman.domain.policy.create import Encryption, Push
from tallyman.domain.policy.environments import NAME, Environment
from tallyman.domain.policy.gates import ALWAYS_OVERRIDABLE
from tallyman.domain.policy.keep import KeepNewerThan, KeepNewest, KeepTag
from tallyman.domain.policy.promotions import Promotion
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.repositories import RepositoryRule
from tallyman.domain.policy.retention import Retention
from tallyman.domain.policy.tags import glob_covers


def check_environments(node: Node, environments: Mapping[str, Environment]) -> None:
    """Registries that repeat, and environments that can't be told apart."""
    for environment in environments.values():
        for index, registry in enumerate(environment.registries):
            if registry in environment.registries[:index]:
                path = (*node.path, environment.name, "registries", index)
                node.wrong(f"registry {registry} is there twice", path)
    for first, second in combinations(environments.values(), 2):
        path = (*node.path, second.name)
        if _variable(first.name) == _variable(second.name):
            node.wrong(f"the names '{first.name}' and '{second.name}' differ only in case, _ or -", path)
        shared = next((r for r in second.registries if r in first.registries), None)
        if shared and _names_collide(first, second):
            node.wrong(
                f"a repository in {shared} could belong to '{first.name}' ({first.repository}) as well as to "
                f"'{second.name}' ({second.repository}): give one of them a 'repository' of its own, such as "
                f'"{second.name.lower()}/{NAME}"',
                path,
            )


def _variable(name: str) -> str:
    # The local cloud exports TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>.
    return name.upper().replace("-", "_")


def _names_collide(first: Environment, second: Environment) -> bool:
    """Whether one name may fit both, and neither is the more specific (as dev's {name} and prod's prod/{name} are)."""
    (head_a, _, tail_a), (head_b, _, tail_b) = (
        first.repository.partition(NAME),
        second.repository.partition(NAME),
    )
    if (head_a, tail_a) == (head_b, tail_b):
        return True
    if not (
        (head_a.startswith(head_b) or head_b.startswith(head_a))
        and (tail_a.endswith(tail_b) or tail_b.endswith(tail_a))
    ):
        return False
    first_inside = head_a.startswith(head_b) and tail_a.endswith(tail_b)
    second_inside = head_b.startswith(head_a) and tail_b.endswith(tail_a)
    return not (first_inside or second_inside)


def check_repositories(node: Node, rules: Sequence[RepositoryRule | None]) -> None:
    """Entries that an earlier one hides, and what contradicts within an entry."""
    for index, rule in enumerate(rules):
        if rule is None:
            continue
        entry = node.child(index, rule)
        hiding = next((i for i, r in enumerate(rules[:index]) if r and glob_covers(r.match, rule.match)), None)
        if hiding is not None:
            entry.wrong(
                f"'{rule.match}' can never count: {node.key}[{hiding}] ('{rules[hiding].match}') "  # type: ignore[union-attr]
                "matches all of it first; the first entry that matches counts, so put the narrower one first",
                (*entry.path, "match"),
            )
        _check_rule(entry, rule)


def _check_rule(entry: Node, rule: RepositoryRule) -> None:
    create = entry.child("create", rule.create)
    if rule.create.kms_key and rule.create.encryption is Encryption.AES256:
        create.wrong("a kms_key needs encryption: KMS or KMS_DSSE, found AES256", (*create.path, "kms_key"))
    if rule.create.break_glass and rule.create.push is not Push.TALLYMAN_ONLY:
        create.child("break_glass", rule.create.break_glass).warn("says nothing without push: tallyman-only")
    if rule.tags.texts and rule.tags.common_tag() is None:
        entry.wrong(f"no tag can match all of: {rule.tags}", (*entry.path, "tags", "allow"))
    _check_retention(entry.child("retention", rule.retention), rule.retention)
    promotions = entry.child("promotions", rule.promotions)
    for index, promotion in enumerate(rule.promotions):
        _check_promotion(promotions.child(index, promotion), rule, promotion)
    for (i, first), (j, second) in combinations(enumerate(rule.promotions), 2):
        tag = first.tags.common_tag(second.tags)
        if (first.source, first.target) == (second.source, second.target) and tag is not None:
            promotions.child(j, second).wrong(
                f"contradicts {promotions.key}[{i}]: both are from {first.source} to {first.target}, and both let in "
                f"the tag {tag}"
            )
    if circle := _circle(rule.promotions):
        promotions.wrong(f"the promotions go round in a circle: {' → '.join(circle)}")


def _check_retention(node: Node, retention: Retention) -> None:
    keep = node.child("keep", retention.keep)
    if retention.keep == () and retention.enforce:
        keep.wrong("an empty list keeps no tagged image, and enforce is on: say what stays, or leave keep out")
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
                child.wrong(f"contradicts {keep.key}[{number}]: both say how much stays of the same")
    if retention.enforce and not retention.removes:
        node.child("enforce", True).warn("enforces nothing: neither keep nor untagged says what goes")
    if retention.enforce and 0 in (retention.at_most, retention.at_most_images):
        node.child("at_most", retention.at_most).wrong(
            "enforce is on, and at_most lets no image go: one of them is wrong"
        )


def _check_promotion(node: Node, rule: RepositoryRule, promotion: Promotion) -> None:
    if promotion.source == promotion.target:
        node.wrong(f"a promotion from '{promotion.source}' to itself", (*node.path, "to"))
    overridable = node.child("overridable", promotion.overridable)
    for index, name in enumerate(promotion.overridable):
        if name not in promotion.gates and name not in ALWAYS_OVERRIDABLE:
            overridable.child(index, name).warn(f"'{name}' is no gate of this promotion: there is nothing to override")
    if not promotion.tags.texts:
        return
    tags = node.child("tags", promotion.tags)
    if promotion.tags.common_tag() is None:
        tags.wrong(f"no tag can match all of: {promotion.tags}")
    elif promotion.tags.common_tag(rule.tags) is None:
        tags.warn(f"no tag of {promotion.tags} is let in by the repository's tags.allow ({rule.tags})")
    else:
        for name in promotion.tags.names:
            if not promotion.tags.allows(name):
                what = "is outside its ranges" if parse_version(name) else "is no version, and a range holds only those"
                tags.warn(f"'{name}' can never match: it {what}")


def _circle(promotions: Sequence[Promotion]) -> list[str] | None:
    """The environments of a circle, the first of them again at the end; a promotion to itself is told elsewhere."""
    steps: dict[str, list[str]] = {}
    for p in promotions:
        if p.source != p.target:
            steps.setdefault(p.source, []).append(p.target)
    done: set[str] = set()

    def walk(environment: str, way: list[str]) -> list[str] | None:
        if environment in way:
            return [*way[way.index(environment) :], environment]
        if environment in done:
            return None
        found = next(filter(None, (walk(to, [*way, environment]) for to in steps.get(environment, ()))), None)
        done.add(environment)
        return found

    return next(filter(None, (walk(start, []) for start in steps)), None)
