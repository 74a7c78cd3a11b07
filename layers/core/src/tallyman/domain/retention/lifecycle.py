"""ECR's lifecycle policies: the images that a policy document would expire or archive.

Source: the ECR user guide, "Lifecycle policy properties" and "Examples of lifecycle policies". A rule counts every
image that its selection matches, including those that rules of a higher priority (a lower number) have marked; but it
never marks an image that a rule of a higher priority selects. The oldest images are marked first.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from tallyman.domain.images.documents import loads
from tallyman.errors import BadInput
from tallyman.values import value

MAX_RULES = 50
MAX_CHARACTERS = 30_720
MAX_WILDCARDS = 4
_DAY = timedelta(days=1)
_RULE_KEYS = {"rulePriority", "description", "selection", "action"}
_SELECTION_KEYS = {
    "tagStatus",
    "tagPrefixList",
    "tagPatternList",
    "storageClass",
    "countType",
    "countUnit",
    "countNumber",
}


class BadLifecyclePolicy(BadInput, ValueError):
    """A document that ECR would refuse; the message says which rule and why."""


class Storage(StrEnum):
    """ECR's storage classes, as lifecycle policies write them."""

    STANDARD = "standard"
    ARCHIVE = "archive"


@value
class LifecycleImage:
    """The data of an image that lifecycle policies use. `pulled_at` None: never. `transitioned_at`: when it was last
    archived; `activated_at`: when it was last restored, which then counts as the push. `listed_by`: digests of the
    indexes in the repository that list it."""

    digest: str
    tags: tuple[str, ...]
    pushed_at: datetime
    pulled_at: datetime | None = None
    archived: bool = False
    transitioned_at: datetime | None = None
    activated_at: datetime | None = None
    listed_by: tuple[str, ...] = ()


@value
class Rule:
    """One rule. `tags`: patterns, each of which must match a tag of the image; `count`: a number of images or days."""

    priority: int
    status: str
    tags: tuple[str, ...]
    storage: Storage
    count_type: str
    count: int
    action: str
    description: str = ""

    def selects(self, image: LifecycleImage) -> bool:
        """Whether the rule's selection matches the image's tags and storage class."""
        if image.archived is not (self.storage is Storage.ARCHIVE):
            return False
        if self.status == "any":
            return True
        if self.status == "untagged":
            return not image.tags
        return bool(image.tags) and all(any(_matches(p, tag) for tag in image.tags) for p in self.tags)


@value
class Marked:
    """A marked image. `action`: `expire`, or `transition` to the archive; `priority`: that of the rule."""

    digest: str
    action: str
    priority: int


def parse_lifecycle_policy(text: str | Mapping[str, Any]) -> tuple[Rule, ...]:
    """Parse a policy document; return the rules by priority. Raises BadLifecyclePolicy where PutLifecyclePolicy
    would refuse it."""
    if isinstance(text, str):
        if len(text) > MAX_CHARACTERS:
            raise BadLifecyclePolicy(f"the document has {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
        try:
            document = loads(text)
        except ValueError as error:
            raise BadLifecyclePolicy(f"the document is not JSON: {error}") from None
    else:
        document = text
    rules = document.get("rules") if isinstance(document, Mapping) else None
    if not isinstance(rules, Sequence) or isinstance(rules, str) or not rules:
        raise BadLifecyclePolicy("'rules' must be a list of at least one rule")
    if len(rules) > MAX_RULES:
        raise BadLifecyclePolicy(f"{len(rules)} rules; at most {MAX_RULES} are allowed")
    found = tuple(sorted((_rule(n, rule) for n, rule in enumerate(rules)), key=lambda rule: rule.priority))
    _check_together(found)
    return found


def evaluate(rules: Iterable[Rule], images: Iterable[LifecycleImage], now: datetime) -> list[Marked]:
    """The images that the rules would mark now, rule by rule, the oldest first. Time n·log n for each rule.

    An image that an index lists is left out unless each such index is marked too: ECR does not expire it before.
    """
    every = list(images)
    seen: set[str] = set()
    marked: dict[str, Marked] = {}
    for rule in sorted(rules, key=lambda rule: rule.priority):
        selected = [image for image in every if rule.selects(image)]
        for image in _too_many(rule, selected, now):
            if image.digest not in seen:
                marked[image.digest] = Marked(image.digest, rule.action, rule.priority)
        seen.update(image.digest for image in selected)
    there = {image.digest for image in every}
    holders = {i.digest: [d for d in i.listed_by if d in there and d != i.digest] for i in every if i.listed_by}
    while held := [d for d in marked if any(holder not in marked for holder in holders.get(d, ()))]:
        for digest in held:
            del marked[digest]
    return list(marked.values())


def _too_many(rule: Rule, selected: list[LifecycleImage], now: datetime) -> list[LifecycleImage]:
    oldest_first = sorted(selected, key=lambda image: (_moment(rule, image), image.digest))
    if rule.count_type == "imageCountMoreThan":
        return oldest_first[: max(0, len(oldest_first) - rule.count)]
    return [image for image in oldest_first if (now - _moment(rule, image)) / _DAY > rule.count]


def _moment(rule: Rule, image: LifecycleImage) -> datetime:
    pushed = image.activated_at or image.pushed_at
    if rule.count_type == "sinceImagePulled":
        return image.pulled_at or pushed
    if rule.count_type == "sinceImageTransitioned" or rule.storage is Storage.ARCHIVE:
        return image.transitioned_at or pushed
    return pushed


def _matches(pattern: str, tag: str) -> bool:
    first, *rest = pattern.split("*")
    return re.fullmatch(re.escape(first) + "".join(".*" + re.escape(part) for part in rest), tag) is not None


def _rule(number: int, rule: Any) -> Rule:
    where = f"rules[{number}]"
    if not isinstance(rule, Mapping):
        raise BadLifecyclePolicy(f"{where} must be an object")
    _only(where, rule, _RULE_KEYS)
    selection, action = rule.get("selection"), rule.get("action")
    if not isinstance(selection, Mapping) or not isinstance(action, Mapping):
        raise BadLifecyclePolicy(f"{where} needs 'selection' and 'action'")
    _only(f"{where}.selection", selection, _SELECTION_KEYS)
    status = _one_of(f"{where}.selection.tagStatus", selection.get("tagStatus"), ("tagged", "untagged", "any"))
    count_type = _one_of(
        f"{where}.selection.countType",
        selection.get("countType"),
        ("imageCountMoreThan", "sinceImagePushed", "sinceImagePulled", "sinceImageTransitioned"),
    )
    storage = _one_of(f"{where}.selection.storageClass", selection.get("storageClass", "standard"), tuple(Storage))
    kind = _one_of(f"{where}.action.type", action.get("type"), ("expire", "transition"))
    _check_counts(where, selection, action, count_type, storage, kind)
    return Rule(
        priority=_whole(f"{where}.rulePriority", rule.get("rulePriority")),
        status=status,
        tags=_patterns(where, selection, status),
        storage=Storage(storage),
        count_type=count_type,
        count=_whole(f"{where}.selection.countNumber", selection.get("countNumber")),
        action=kind,
        description=str(rule.get("description", "")),
    )


def _check_counts(
    where: str, selection: Mapping[str, Any], action: Mapping[str, Any], count_type: str, storage: str, kind: str
) -> None:
    days = count_type != "imageCountMoreThan"
    if days and selection.get("countUnit") != "days":
        raise BadLifecyclePolicy(f"{where}.selection.countUnit must be 'days' with {count_type}")
    if not days and "countUnit" in selection:
        raise BadLifecyclePolicy(f"{where}.selection.countUnit must be left out with imageCountMoreThan")
    if count_type == "sinceImagePulled" and kind != "transition":
        raise BadLifecyclePolicy(f"{where}: sinceImagePulled can only archive (action 'transition')")
    if count_type == "sinceImageTransitioned" and (storage != "archive" or kind != "expire"):
        raise BadLifecyclePolicy(f"{where}: sinceImageTransitioned needs storageClass 'archive' and action 'expire'")
    if kind == "transition" and action.get("targetStorageClass") != "archive":
        raise BadLifecyclePolicy(f"{where}.action.targetStorageClass must be 'archive' with action 'transition'")
    if kind == "expire" and "targetStorageClass" in action:
        raise BadLifecyclePolicy(f"{where}.action.targetStorageClass must be left out with action 'expire'")
    if kind == "transition" and storage == "archive":
        raise BadLifecyclePolicy(f"{where}: archived images can't be archived again")


def _patterns(where: str, selection: Mapping[str, Any], status: str) -> tuple[str, ...]:
    prefixes, patterns = selection.get("tagPrefixList"), selection.get("tagPatternList")
    if status != "tagged":
        if prefixes or patterns:
            raise BadLifecyclePolicy(f"{where}: tagPrefixList and tagPatternList need tagStatus 'tagged'")
        return ()
    if bool(prefixes) == bool(patterns):
        raise BadLifecyclePolicy(f"{where}: tagStatus 'tagged' needs either tagPrefixList or tagPatternList")
    given = prefixes or patterns
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(isinstance(t, str) and t for t in given):
        raise BadLifecyclePolicy(f"{where}: a list of tags must be a list of strings")
    if any("*" in text for text in given) if prefixes else any(text.count("*") > MAX_WILDCARDS for text in given):
        raise BadLifecyclePolicy(f"{where}: at most {MAX_WILDCARDS} wildcards in a pattern, none in a prefix")
    return tuple(f"{text}*" for text in given) if prefixes else tuple(given)


def _check_together(rules: Sequence[Rule]) -> None:
    priorities = [rule.priority for rule in rules]
    if len(set(priorities)) != len(priorities):
        raise BadLifecyclePolicy("each rule needs a rulePriority of its own")
    for storage in Storage:
        mine = [rule for rule in rules if rule.storage is storage]
        if sum(rule.status == "untagged" for rule in mine) > 1:
            raise BadLifecyclePolicy(f"only one rule may select untagged images of storage class {storage}")
        if any(rule.status == "any" for rule in mine[:-1]):
            raise BadLifecyclePolicy("a rule with tagStatus 'any' must have the highest rulePriority")
        tags = [tuple(sorted(rule.tags)) for rule in mine if rule.status == "tagged"]
        if len(set(tags)) != len(tags):
            raise BadLifecyclePolicy("two rules select the same tags")


def _only(where: str, value: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(set(value) - known):
        raise BadLifecyclePolicy(f"{where}: unknown key '{unknown[0]}'")


def _one_of(where: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise BadLifecyclePolicy(f"{where} must be one of {', '.join(known)}")
    return str(value)


def _whole(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise BadLifecyclePolicy(f"{where} must be a whole number of at least 1")
    return value
