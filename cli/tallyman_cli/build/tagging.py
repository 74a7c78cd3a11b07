"""Suggests the tags of a build, which the code that reads the policy's rules reads too."""

import re
from dataclasses import dataclass

from tallyman.domain.images.versions import parse_version
from tallyman.domain.policy import RepositoryRule
from tallyman.errors import BadInput
from tallyman_cli.build.checkout import Checkout

MAIN = ("main", "master")
"""Branches whose newest build is `latest`, where the policy lets that tag move."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """`tags`: the version with the commit first, so that a tag that moves is never the only one; `left_out`: tags that
    the policy does not allow, each with the reason."""

    version: str
    tags: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def suggest(checkout: Checkout, rule: RepositoryRule | None = None) -> Suggestion:
    """The tags of a build: `v<semver>-<commit>`; `v<semver>` if the commit has that Git tag; and if the policy allows
    them, `<branch>-<commit>`, by which a policy tells builds of main from others, and the tags `<branch>` and, on main,
    `latest`, if they may move.

    Raises BadInput if the policy allows no tag with the version.
    """
    version = checkout.released or checkout.version
    plain = f"v{version.text.removeprefix('v').partition('+')[0]}"
    major, minor, patch = version.release
    exact = f"v{major}.{minor}.{patch}-{checkout.short}"
    assert parse_version(exact) is not None  # by its making
    fixed = [exact, *([plain] if checkout.released else [])]
    tags = [tag for tag in fixed if rule is None or rule.tags.allows(tag)]
    left_out = [f"{tag}: the policy allows {rule.tags}" for tag in fixed if rule is not None and tag not in tags]
    if not tags:
        raise BadInput(f"no tag for this build: {'; '.join(left_out)}")
    if rule is not None and checkout.branch:
        name = _as_tag(checkout.branch)
        moving = [name, *(["latest"] if checkout.branch in MAIN else [])]
        wanted = [f"{name}-{checkout.short}", *(tag for tag in moving if rule.create.may_move(tag))]
        tags += [tag for tag in wanted if rule.tags.allows(tag)]
    return Suggestion(plain, tuple(tags), tuple(left_out))


def _as_tag(branch: str) -> str:
    """`feature/login` → `feature-login`; a tag begins with a letter, a digit or _."""
    return re.sub(r"[^0-9A-Za-z_.-]+", "-", branch).strip("-.")[:80] or "branch"


def next_free(version: str) -> str:
    """The next patch version: `v1.2.3` → `v1.2.4`."""
    parsed = parse_version(version)
    assert parsed is not None  # it was suggested
    major, minor, patch = parsed.release
    return f"v{major}.{minor}.{patch + 1}"
