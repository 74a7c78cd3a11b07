"""Lists environments, the repositories of one, and the images of a repository."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from tallyman.domain.images.manifest import INDEX_TYPES
from tallyman.domain.names import Repository
from tallyman.domain.times import format_time, text_or_none
from tallyman.errors import NotFound
from tallyman.services.deciding.freezes import in_force
from tallyman.state import pending as pending_items
from tallyman.state import releases as release_items
from tallyman.state.pending import PENDING
from tallyman.state.releases import RELEASES
from tallyman.state.sweeps import SweepState
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places
from tallyman_cli.views.board import release_row, versions_first


def environments(stack: Stack) -> list[dict[str, Any]]:
    """`{environment, registries, repositories, images, bytes, released, waiting, frozen}` of each, in the policy's
    order; counts by the last sweeps, null where none has counted yet. Two Queries, and three an environment."""
    swept = places.sweeps(stack)
    found = []
    for environment in stack.policy.environments.values():
        mine = [(p, d) for p, d in swept.items() if places.canonical(stack.policy, p)[0] == environment.name]
        freezes = [f for f in in_force(stack.state, environment.name) if f.repository is None]
        found.append(
            {
                "environment": environment.name,
                "registries": [str(registry) for registry in environment.registries],
                "repositories": len({p.name for p, _ in mine}),
                "images": _total([data.images for _, data in mine]),
                "bytes": _total([data.bytes for _, data in mine]),
                "released": sum(1 for _ in RELEASES.list(stack.state, release_items.partition(environment.name))),
                "waiting": sum(1 for _ in PENDING.list(stack.state, pending_items.partition(environment.name))),
                "frozen": freezes[0].because if freezes else None,
            }
        )
    return found


def _total(counts: list[int | None]) -> int | None:
    """The sum of the counts that are known; None if there are repositories, and no count is known."""
    counted = [count for count in counts if count is not None]
    return sum(counted) if counted or not counts else None


def repositories(stack: Stack, environment: str) -> list[dict[str, Any]]:
    """`{repository, registries, images, bytes, release, waiting, swept}` of each in the environment, by name. Counts
    are those of the first registry."""
    owner = stack.policy.environment(environment)
    swept = places.sweeps(stack)
    names = places.by_name(stack.policy, swept)
    released = RELEASES.list(stack.state, release_items.partition(environment))
    releases = {entry.sk: entry.value for entry in released}
    waiting = Counter(e.value.name for e in PENDING.list(stack.state, pending_items.partition(environment)))
    found = []
    for name in sorted({n for n, there in names.items() if environment in there} | set(releases)):
        there = names.get(name, {}).get(environment, [])
        data = swept.get(owner.repositories(name)[0], SweepState())
        release = releases.get(name)
        found.append(
            {
                "repository": name,
                "registries": [str(place.registry) for place in there],
                "images": data.images,
                "bytes": data.bytes,
                "release": release_row(release),
                "waiting": waiting[name],
                "swept": text_or_none(data.swept),
            }
        )
    return found


def images(stack: Stack, place: Repository) -> list[dict[str, Any]]:
    """`{digest, tags, size, pushed_at, media_type, index, archived}` of each image of one registry, the newest push
    first: the registry's own list, a call for a thousand. Raises NotFound."""
    if stack.registries.settings(place) is None:
        raise NotFound(f"there is no repository {place}")
    return sorted(
        _images(stack, place), key=lambda row: (row["pushed_at"], bool(row["tags"]), row["digest"]), reverse=True
    )


def _images(stack: Stack, place: Repository) -> Iterator[dict[str, Any]]:
    for detail in stack.source.images(place):
        yield {
            "digest": detail.digest,
            "tags": versions_first(sorted(detail.tags)),
            "size": detail.size,
            "pushed_at": format_time(detail.pushed_at),
            "media_type": detail.media_type,
            "index": detail.media_type in INDEX_TYPES,
            "archived": detail.archived,
            "subject": detail.subject,
        }
