"""Differences between a registry's content and the ledger. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import second_of
from tallyman.services.recording.record_image import Observation
from tallyman.state.images import HeldImage
from tallyman.state.items import Entry
from tallyman.state.tags import Tag
from tallyman.values import value


@value
class Known:
    """The items of a repository in the state table, read before the registry was listed."""

    tags: Mapping[str, Entry[Tag]]
    images: Mapping[str, Entry[HeldImage]]

    def holds(self, digest: Digest) -> bool:
        """Whether the registry was last known to hold the image."""
        return digest in self.images and self.images[digest].value.present

    def since(self) -> datetime | None:
        """The earliest time known of a tag: since about then, events have reported this repository. None: no tag is
        known."""
        return min((tag.value.reported_at for tag in self.tags.values() if tag.value.reported_at), default=None)


def differences(
    repository: Repository, known: Known, listed: Mapping[Digest, ImageDetail], now: datetime
) -> Iterator[Observation]:
    """Yield an observation for each difference that the ledger lacks: pushes oldest first, then removals. Pure.

    A push has the registry's push time of the image if the image is new to the ledger and nothing later is known of the
    tag; else it has `now`.
    """
    pointing = {tag: digest for digest, detail in listed.items() for tag in detail.tags}
    base = Observation(Kind.PUSHED, repository, Digest(""), None, second_of(now), Via.RECONCILED, None)
    for detail in sorted(listed.values(), key=lambda d: (d.pushed_at, bool(d.tags), d.digest)):
        item = known.images.get(detail.digest)
        revision = item.revision if item else 0
        new = not known.holds(detail.digest)
        here = replace(base, digest=detail.digest, detail=detail)
        missing = [
            t for t in sorted(detail.tags) if t not in known.tags or known.tags[t].value.reported != detail.digest
        ]
        for tag in missing:
            of = known.tags.get(tag)
            at = _time(of, detail.pushed_at if new else None, now)
            yield replace(
                here, tag=tag, at=at, key=f"sweep {of.revision if of else 0}", revision=of.revision if of else 0
            )
        if new and not detail.tags:
            yield replace(here, at=second_of(detail.pushed_at), key=f"sweep {revision}")
        if detail.archived != bool(item and item.value.archived):
            kind = Kind.ARCHIVED if detail.archived else Kind.RESTORED
            yield replace(here, kind=kind, key=f"sweep {revision} {kind}")
    gone = {Digest(d) for d, item in known.images.items() if item.value.present and d not in listed}
    for digest in sorted(gone):
        yield replace(base, kind=Kind.DELETED, digest=digest, key=f"sweep {known.images[digest].revision}")
    for tag, entry in sorted(known.tags.items()):
        reported = entry.value.reported or entry.value.unsure
        if reported and tag not in pointing and (reported not in gone or entry.value.unsure):
            at = _time(entry, None, now)
            yield replace(base, kind=Kind.UNTAGGED, digest=reported, tag=tag, at=at, key=f"sweep {entry.revision}")


def _time(entry: Entry[Tag] | None, own: datetime | None, now: datetime) -> datetime:
    """The time of an observation of a tag. It is later than the last known one, or history would sort it before
    that."""
    last = entry.value.reported_at if entry else None
    if last is None:
        return second_of(own or now)
    return second_of(own) if own and second_of(own) > last else max(second_of(now), last + timedelta(milliseconds=1))
