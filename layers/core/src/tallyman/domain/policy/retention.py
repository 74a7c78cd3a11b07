"""`retention`: which images of a repository stay, and what happens to the others."""

from datetime import timedelta
from enum import StrEnum

from tallyman.domain.names import Digest
from tallyman.domain.policy.durations import format_duration
from tallyman.domain.policy.keep import KEEP_RULE, Keep, KeepNewerThan
from tallyman.domain.policy.reading import Node
from tallyman.domain.policy.shapes import Boolean, Choice, Duration, Integer, Key, ListOf, Record, Schema, String
from tallyman.domain.policy.tags import parse_entry
from tallyman.values import value


class Removal(StrEnum):
    """What happens to images that are not kept."""

    REMOVE = "remove"
    ARCHIVE = "archive"  # moved to ECR's archive storage class, from which it can be restored


@value
class Retention:
    """Which images stay. `keep` None: every tagged image. `at_least`: the number of newest tagged images that stay in
    any case. `roll_back`: how long images stay after they were released, so that a roll-back can use them. `usage`:
    digests, tags and globs of tags that run somewhere that no source of usage reports. `at_most`: the percentage of a
    repository's images that one run may remove; `at_most_images`: their number, None: any.
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
        """Whether the rules can ever remove an image."""
        return self.keep is not None or self.untagged_remove_after is not None

    @property
    def in_words(self) -> list[str]:
        """The rules in words, one sentence per line; empty where they never remove an image."""
        if not self.removes:
            return []
        verb = "removes" if self.action is Removal.REMOVE else "archives"
        lines = [
            f"enforced: {verb} images" if self.enforce else "a plan only: nothing is removed until `enforce: true`"
        ]
        if self.keep is None:
            lines.append("keeps every tagged image")
        else:
            lines += [f"keeps {'images ' if isinstance(rule, KeepNewerThan) else ''}{rule}" for rule in self.keep]
            lines.append(f"{verb} every other tagged image" if self.keep else f"{verb} every tagged image")
        if self.at_least:
            lines.append(f"keeps at least the {self.at_least} newest tagged images of each repository")
        after = self.untagged_remove_after
        lines.append(
            "keeps untagged images that belong to no index"
            if after is None
            else f"{verb} untagged images that belong to no index, {_after(after, 'their push')}"
        )
        if self.pulled_within is not None:
            lines.append(f"keeps what was pulled within {format_duration(self.pulled_within)}")
        lines.append("keeps what runs, is released or waits for a promotion, whatever the rules say")
        if self.roll_back:
            lines.append(f"keeps what an environment ran until {format_duration(self.roll_back)} ago, to roll back to")
        else:
            lines.append("roll_back 0s: keeps nothing to roll back to")
        if self.grace:
            grace = format_duration(self.grace)
            lines.append(f"leaves an image alone for {grace} after its push, marks it, and {verb} it {grace} later")
        else:
            lines.append(f"grace 0s: {verb} an image in the run that marks it, even right after its push")
        if self.at_most >= 100 and self.at_most_images is None:
            lines.append("at_most 100%: one run may take every image of a repository; nothing stops a wrong rule")
        else:
            limits = [f"{self.at_most}% of a repository"] if self.at_most < 100 else []
            limits += [f"{self.at_most_images} images"] if self.at_most_images is not None else []
            lines.append(f"a run that would take more than {' or '.join(limits)} does nothing, and sends a notice")
        return lines

    def too_many(self, removed: int, total: int) -> str | None:
        """Why a run must not remove `removed` of `total` images; None: it may."""
        if self.at_most_images is not None and removed > self.at_most_images:
            return f"{removed} images would go: more than at_most_images, {self.at_most_images} in one run"
        if removed * 100 > self.at_most * total:
            share = f"{removed * 100 / total:.0f} %"
            return f"{removed} of {total} images would go ({share}): more than at_most, {self.at_most}% in one run"
        return None


def _after(age: timedelta, what: str) -> str:
    return f"{format_duration(age)} after {what}" if age else f"as soon as the grace period after {what} is over"


class Percent:
    """A percentage such as `20%`, as a whole number."""

    def read(self, node: Node) -> int:
        text = node.value[:-1] if isinstance(node.value, str) and node.value.endswith("%") else ""
        if not (text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) <= 100):
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
            "Which images stay. With it, a tagged image that no rule matches is removed; without it, all stay.",
        ),
        "at_least": Key(Integer(minimum=0), "How many of the newest tagged images stay in any case."),
        "untagged": Key(
            Record(
                {"remove_after": Key(Duration(), "How long after its push, such as 7d.", required=True)},
                lambda remove_after: remove_after,
                expected="{remove_after: 7d}",
            ),
            "When untagged images that belong to no index are removed (default: never).",
        ),
        "pulled_within": Key(
            Duration(),
            "Images that were pulled within this time stay, with the indexes that list them; by default, pulls protect "
            "nothing.",
        ),
        "roll_back": Key(
            Duration(),
            "How long an image stays after an environment ran it, so that a roll-back can use it (default: 30d).",
        ),
        "usage": Key(
            ListOf(String(what='a digest, a tag or a glob such as "edge-*"', build=_usage_entry)),
            "Images that run where no source of usage reports them, such as on other machines: digests, tags, globs.",
        ),
        "grace": Key(
            Duration(),
            "How long an image stays after its push, and between its mark and its removal (default: 7d).",
        ),
        "at_most": Key(
            Percent(),
            "The largest share of a repository that one run may remove (default: 20%). A run that would remove more "
            "removes nothing and raises an alarm.",
        ),
        "at_most_images": Key(Integer(minimum=0), "The most images that one run may remove (default: any number)."),
        "action": Key(
            Choice(Removal),
            "remove (default), or archive: move to ECR's archive, from which `restore` can bring it back.",
        ),
        "enforce": Key(Boolean(), "true: remove images; false (default): only plan."),
    },
    Retention,
    expected="retention, as in {keep: [{newest: 20}], enforce: false}",
    renamed={"untagged": "untagged_remove_after"},
)
