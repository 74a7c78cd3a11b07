"""Retention: which images of a repository stay, and what is done with the others."""

from datetime import timedelta
from enum import StrEnum

from tallyman.domain.names import Digest
from tallyman.domain.policy.keep import KEEP_RULE, Keep
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Boolean, Choice, Duration, Integer, Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import parse_entry
from tallyman.values import value


class Removal(StrEnum):
    """What is done with what is not kept."""

    REMOVE = "remove"
    ARCHIVE = "archive"  # moved to ECR's archive storage class, from which it can be restored


@value
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


class Percent:
    """`20%`, as a whole number."""

    def read(self, node: Node) -> int:
        text = node.value[:-1] if isinstance(node.value, str) and node.value.endswith("%") else ""
        if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100):
            raise node.expected("a share from 0% to 100%, such as 20%")
        return int(text)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^(?:0?[0-9]{1,2}|100)%$"}


def _usage_entry(text: str) -> str:
    return Digest.parse(text) if text.startswith("sha256:") else parse_entry(text)


RETENTION = Record(
    {
        "keep": Key(
            ListOf(KEEP_RULE),
            "What stays. Where it is given, a tagged image that no rule names is to be removed; without it, all stay.",
        ),
        "at_least": Key(Integer(minimum=0), "So many of the newest tagged images stay whatever the rules say."),
        "untagged": Key(
            Record(
                {"remove_after": Key(Duration(), "How long after its push, such as 7d.", required=True)},
                lambda remove_after: remove_after,
                expected="{remove_after: 7d}",
            ),
            "When untagged images that belong to no index are removed; without it, never.",
        ),
        "pulled_within": Key(
            Duration(),
            "What was pulled less than this ago is protected, with the indexes above it; without it, pulls "
            "protect nothing.",
        ),
        "roll_back": Key(
            Duration(),
            "How long what an environment ran is protected, so that it can be rolled back to (default: 30d).",
        ),
        "usage": Key(
            ListOf(String(what='a digest, a tag or a glob such as "edge-*"', build=_usage_entry)),
            "What something runs that no source of usage tells, such as machines elsewhere: digests, tags, globs.",
        ),
        "grace": Key(
            Duration(),
            "How long an image is left alone after its push, and between the mark and the removal (default: 7d).",
        ),
        "at_most": Key(
            Percent(), "The largest share of a repository in one run; more stops and alarms (default: 20%)."
        ),
        "at_most_images": Key(Integer(minimum=0), "The largest number of images in one run; without it, any."),
        "action": Key(Choice(Removal), "remove (default), or archive: moved to ECR's archive, where restore finds it."),
        "enforce": Key(Boolean(), "Remove; false (default) only plans."),
    },
    Retention,
    expected="retention, as in {keep: [{newest: 20}], enforce: false}",
    renamed={"untagged": "untagged_remove_after"},
)
