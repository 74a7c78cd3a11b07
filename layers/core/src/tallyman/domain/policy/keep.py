"""The rules of a retention's `keep`; each has one of four forms, by its key."""

from datetime import timedelta
from enum import StrEnum

from tallyman.domain.policy.durations import format_duration
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.shapes import Choice, Duration, Integer, Key, OneOf, Record, String
from tallyman.domain.policy.tags import ANY_TAG, TAGS_OR_ONE, TagRule
from tallyman.values import value


class Per(StrEnum):
    """The groups of versions for each of which `newest` keeps its number."""

    MAJOR = "major"
    MINOR = "minor"


class CountedFrom(StrEnum):
    """The event from which an image's age counts. Where it never happened, the age counts from the push."""

    PUSH = "push"  # the push of the image, whatever happens to its tags later
    TAG_MOVE = "tag_move"  # the last time that a tag was set to the image
    PULL = "pull"
    RELEASE = "release"  # the last time that the image was released


@value
class KeepNewest:
    """Keep the `count` newest images with a tag that `of` allows; with `per`, of each major or minor version."""

    count: int
    of: TagRule
    per: Per | None = None

    def __str__(self) -> str:
        of = "" if self.of is ANY_TAG else f" of {self.of}"
        return f"the {self.count} newest{of}" + (f" per {self.per} version" if self.per else "")


@value
class KeepNewerThan:
    """Keep images younger than `age`, counted from `counted_from`."""

    age: timedelta
    counted_from: CountedFrom = CountedFrom.PUSH

    def __str__(self) -> str:
        return f"newer than {format_duration(self.age)}, counted from the last {self.counted_from.replace('_', ' ')}"


@value
class KeepTag:
    """Keep images with a tag that `tags` allows."""

    tags: TagRule

    def __str__(self) -> str:
        return f"tags {self.tags}"


@value
class KeepMatches:
    """Keep images with a tag that the expression matches as a whole."""

    matches: Expression

    def __str__(self) -> str:
        return f"tags that match {self.matches.text}"


Keep = KeepNewest | KeepNewerThan | KeepTag | KeepMatches


KEEP_RULE = OneOf(
    {
        "newest": Record(
            {
                "newest": Key(Integer(minimum=1), "How many of the newest images stay.", required=True),
                "of": Key(
                    TAGS_OR_ONE,
                    "Only images with these tags (default: all); versions and others are counted separately.",
                ),
                "per": Key(Choice(Per), "Keep this number of each minor or major version."),
            },
            lambda newest, of=None, per=None: KeepNewest(newest, of or ANY_TAG, per),
            expected="{newest: 20, of: semver}",
        ),
        "newer_than": Record(
            {
                "newer_than": Key(Duration(), "Images younger than this stay, such as 30d.", required=True),
                "counted_from": Key(
                    Choice(CountedFrom),
                    "The event from which the age counts: push (default), or the last tag_move, pull or release; if "
                    "that never happened, the push.",
                ),
            },
            KeepNewerThan,
            expected="{newer_than: 30d}",
            renamed={"newer_than": "age"},
        ),
        "tag": Record(
            {"tag": Key(TAGS_OR_ONE, 'Tags that stay, such as "stable-*".', required=True)},
            KeepTag,
            expected='{tag: "stable-*"}',
            renamed={"tag": "tags"},
        ),
        "matches": Record(
            {
                "matches": Key(
                    String(what='a regular expression such as "release-[0-9]+"', build=Expression),
                    "A regular expression: tags that it matches as a whole stay. It is refused if it could be slow.",
                    required=True,
                )
            },
            KeepMatches,
            expected='{matches: "release-[0-9]+"}',
        ),
    },
    '{newest: 20, of: semver}, {newer_than: 30d}, {tag: "stable-*"} or {matches: "release-[0-9]+"}',
)
"""One rule of `keep`."""
