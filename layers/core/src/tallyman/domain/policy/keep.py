"""The rules of a retention's `keep`: each in one form, by the key that it has."""

from datetime import timedelta
from enum import StrEnum

from tallyman.domain.policy.durations import format_duration
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.shapes import Choice, Duration, Integer, Key, OneOf, Record, String
from tallyman.domain.policy.tags import ANY_TAG, TagRule, TagsOrOne
from tallyman.values import value


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


@value
class KeepNewest:
    """Keep the `count` newest images of the tags that `of` lets in; with `per`, of each major or minor version."""

    count: int
    of: TagRule
    per: Per | None = None

    def __str__(self) -> str:
        of = "" if self.of is ANY_TAG else f" of {self.of}"
        return f"the {self.count} newest{of}" + (f" per {self.per} version" if self.per else "")


@value
class KeepNewerThan:
    """Keep what is younger than `age`, counted from `counted_from`."""

    age: timedelta
    counted_from: CountedFrom = CountedFrom.PUSH

    def __str__(self) -> str:
        return f"newer than {format_duration(self.age)}, counted from the last {self.counted_from.replace('_', ' ')}"


@value
class KeepTag:
    """Keep the tags that `tags` lets in."""

    tags: TagRule

    def __str__(self) -> str:
        return f"tags {self.tags}"


@value
class KeepMatches:
    """Keep the tags that the whole of the expression matches."""

    matches: Expression

    def __str__(self) -> str:
        return f"tags that match {self.matches.text}"


Keep = KeepNewest | KeepNewerThan | KeepTag | KeepMatches


KEEP_RULE = OneOf(
    {
        "newest": Record(
            {
                "newest": Key(Integer(minimum=1), "How many of the newest stay.", required=True),
                "of": Key(TagsOrOne(), "Of which tags; without it, of all, versions and others counted apart."),
                "per": Key(Choice(Per), "So many of each minor or major version."),
            },
            lambda newest, of=None, per=None: KeepNewest(newest, of or ANY_TAG, per),
            expected="{newest: 20, of: semver}",
        ),
        "newer_than": Record(
            {
                "newer_than": Key(Duration(), "What is younger than this stays, such as 30d.", required=True),
                "counted_from": Key(
                    Choice(CountedFrom),
                    "From when: the push (default), the last tag_move, pull or release; what never happened counts "
                    "from the push.",
                ),
            },
            KeepNewerThan,
            expected="{newer_than: 30d}",
            renamed={"newer_than": "age"},
        ),
        "tag": Record(
            {"tag": Key(TagsOrOne(), 'Tags that stay, such as "stable-*".', required=True)},
            KeepTag,
            expected='{tag: "stable-*"}',
            renamed={"tag": "tags"},
        ),
        "matches": Record(
            {
                "matches": Key(
                    String(what='a regular expression such as "release-[0-9]+"', build=Expression),
                    "Tags that stay: those that the whole expression matches. One that could take too long is refused.",
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
