"""Records the state of one image in one registry: there, archived or gone, and what its tag points to.

Events, CloudTrail's calls and sweeps all use it: every source of the same change gives the same fact.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from tallyman.domain.history.details.changes import NOT_ASKED, Change
from tallyman.domain.history.details.verifications import Unreadable
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import INDEX_TYPES, Manifest
from tallyman.domain.images.provenance import built
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import BadManifest, NotFound, RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.records import Appended, Archive, Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.deciding.read_signing import ReadSigning
from tallyman.services.recording.registry_state import held_change, hold, lost_change, tag_change
from tallyman.services.recording.relations import Relations
from tallyman.services.recording.stowaways import report_stowaway
from tallyman.services.shared.conflicts import until_written
from tallyman.services.verification.hints import hint_origin
from tallyman.state import images, tags
from tallyman.state.images import IMAGES, HeldImage
from tallyman.state.items import Entry, StateChange
from tallyman.state.tags import TAGS, Tag
from tallyman.values import value

_WHOLE_SECONDS = timedelta(seconds=1)
"""The precision of an event's time: that of the push, cut to whole seconds."""
_LONGEST_REASON = 500
"""The most characters of the reason why a manifest can't be read: it may quote the manifest."""
_STORAGE = (Kind.ARCHIVED, Kind.RESTORED)

_UNREPORTED = Change()
"""The change of an observation by a sweep: no event or call reported it."""


@value
class Observation:
    """An observation of one image, to be recorded. `at`: the registry's time; `key`: distinguishes this change from
    others (an event's time, the revision that a sweep corrects), and is a part of the fact's id.

    To save requests: `detail`: the image as a sweep has just listed it, after it read `revision` of the tag's item; it
    is not used if the item has changed since. `manifest`: read with others; `pointing`, `held`: the items of tag and
    image, as they were listed; `facts`: the facts of the image.
    """

    kind: Kind
    repository: Repository
    digest: Digest
    tag: str | None
    at: datetime
    via: Via
    key: object
    actor: str | None = None
    reported_by: Change = _UNREPORTED
    detail: ImageDetail | None = None
    revision: int = 0
    manifest: Manifest | None = None
    pointing: Entry[Tag] | None = None
    held: Entry[HeldImage] | None = None
    facts: Sequence[Fact] | None = None


@value
class RecordImage:
    """Asks the registry, and writes facts and state. The caller evaluates this image; related images are evaluated
    here."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    archive: Archive
    notices: Notices
    evaluator: Evaluator
    clock: Clock
    signing: ReadSigning

    @property
    def relations(self) -> Relations:
        """Records how images are related."""
        return Relations(self.source, self.ledger, self.archive, self.evaluator, self.clock, self.signing)

    def pushed(self, seen: Observation, *, notify: bool = True) -> bool:
        """Record that an image is there, what its tag points to now, and how it is related to others.

        Return True for a stowaway that was not known. Without `notify` the caller sends the notice. Raises
        RevisionConflict where the tag keeps changing.
        """
        self._hint_origin(seen, before=True)
        try:
            fact, manifest = self._push(seen)
        except (RevisionConflict, NotFound):
            # another reaction moved the tag since it was listed, or the repository was deleted: all is read again
            again = partial(self._push, replace(seen, detail=None, pointing=None, held=None))
            fact, manifest = until_written(again, f"{seen.repository}:{seen.tag} keeps changing: try again")
        self.relations.judge_subject(seen.digest, manifest)
        self._hint_origin(seen, before=False)
        return report_stowaway(self.policy, self.ledger, self.notices, fact, notify, seen.facts)

    def _push(self, seen: Observation) -> tuple[Fact, Manifest | None]:
        """Read the state, ask the registry, and write what that says; return the fact and the manifest if it can be
        read. Raises RevisionConflict where the state has changed meanwhile."""
        held = seen.held or IMAGES.read(self.state, images.key(seen.repository, seen.digest))
        entry = seen.pointing
        if entry is None and seen.tag:
            entry = TAGS.read(self.state, tags.key(seen.repository, seen.tag))
        listed = seen.detail
        if entry and entry.revision != seen.revision:
            listed = None  # an event was recorded since the sweep listed it
        details = [listed] if listed else self._look(seen.repository, seen.digest, seen.tag)
        detail = next((d for d in details if d.digest == seen.digest), None)
        manifest, flaw = self._read(seen, detail)
        current = _current(details, seen.tag)
        if manifest is not None and not self._is_related(seen, manifest):
            self.relations.write(seen.repository, seen.digest, manifest, seen.via)
        fact = self._fact(seen, detail, manifest, current)
        if flaw is not None:
            self.ledger.append(_unreadable(fact, flaw))
        reported = seen.digest if seen.kind in PUSHES else current
        if detail and current == seen.digest and detail.pushed_at > seen.at + _WHOLE_SECONDS:
            reported = None  # it was removed since and pushed again: a later push counts
        # what was reported, not what is there: so that a sweep sees where a fact is missing
        archived = seen.kind is Kind.ARCHIVED if seen.kind in _STORAGE else None
        possible = (
            tag_change(entry, current, reported, seen.at, self.clock()) if entry else None,
            held_change(held, detail is not None, archived, self.clock()),
        )
        changes = [change for change in possible if change is not None]
        if self.ledger.append(fact, *changes) is Appended.KNOWN:
            again = self._known_change(entry, current, seen, possible[0])
            for change in (again, possible[1]):
                if change is not None:
                    self.state.put(change)  # it was written when the tag pointed elsewhere
        return fact, manifest

    def removed(self, seen: Observation) -> None:
        """Record that a tag (UNTAGGED), or an image with all its tags (DELETED), was removed. The registry is asked
        what remains; a deleted image has no tags any more. Raises RevisionConflict where the image keeps changing.
        """
        keeps_changing = f"{seen.repository}@{seen.digest} keeps changing: try again"
        if until_written(partial(self._remove, seen), keeps_changing) is None:
            self.relations.judge_subject_of_removed(seen.digest)

    def _remove(self, seen: Observation) -> ImageDetail | None:
        """Record the removal and what remains; return the image if it is still there. Raises RevisionConflict."""
        repository, digest, tag = seen.repository, seen.digest, seen.tag
        there = self._vanished(seen)
        if tag is None or there is None:
            for name in self._tags_of(repository, digest):
                entry = TAGS.read(self.state, tags.key(repository, name))
                if entry.found and digest in (entry.found.digest, entry.found.reported):
                    current = _current(self._look(repository, digest, name), name)
                    deleted = seen.at if tag is None else None
                    if lost := lost_change(entry, current, digest, deleted, self.clock()):
                        self.state.put(lost)
        if there is None:  # if it is there again, the fact of that push says so
            hold(self.state, repository, digest, False, None, self.clock())
        return there

    def _hint_origin(self, seen: Observation, *, before: bool) -> None:
        """Hint verify_origin of a push. For a sweep before the fact is written: after a crash in between it would not
        find the push again. For an event after it, so that the facts are there: a crash repeats the event."""
        if seen.kind in PUSHES and (seen.via is Via.RECONCILED) is before:
            hint_origin(self.policy, self.evaluator.hints, seen.repository, seen.digest, seen.tag)

    def _tags_of(self, repository: Repository, digest: Digest) -> list[str]:
        """The tags that the image ever had there, from its own facts (a repository may have any number of others)."""
        facts = self.ledger.of_digest(digest)
        return sorted({f.tag for f in facts if f.kind in PUSHES and f.tag and f.repository == repository})

    def _is_related(self, seen: Observation, manifest: Manifest) -> bool:
        """Whether the relations of the image were recorded before; they are written before its push. Not known of a
        restored image: its push may have been recorded while it was archived, without its manifest."""
        if not manifest.children and manifest.subject is None:
            return True  # it has none
        if seen.kind is Kind.RESTORED:
            return False
        facts = self.ledger.of_digest(seen.digest) if seen.facts is None else seen.facts
        return any(
            f.kind in PUSHES and f.repository == seen.repository and Change.parse(f).index is not None for f in facts
        )

    def _read(self, seen: Observation, detail: ImageDetail | None) -> tuple[Manifest | None, str | None]:
        """Archive the image's manifest; return it parsed, or why it can't be read (the image is recorded all the
        same, with what the registry says about it). Both None: the image is gone."""
        try:
            found = seen.manifest or (self._manifest(detail) if detail else None)
            if found is None:
                return None, None
            self.archive.put("manifests", found.raw)
            return Manifest.parse(found.raw, found.media_type), None
        except BadManifest as error:
            return None, str(error)

    def _manifest(self, detail: ImageDetail) -> Manifest | None:
        """The manifest from the registry; of an archived image, which the registry does not give, from our archive."""
        if not detail.archived:
            return self.source.manifest(detail.repository, detail.digest)
        raw = self.archive.get("manifests", detail.digest)
        return None if raw is None else Manifest(raw, detail.media_type or "")

    def _vanished(self, seen: Observation) -> ImageDetail | None:
        """Record one removal, and what the tag points to now; return the image if it is still there. Raises
        RevisionConflict. The state is read before the registry is asked, so that an older answer never replaces a
        newer one."""
        entry = TAGS.read(self.state, tags.key(seen.repository, seen.tag)) if seen.tag else None
        details = self._look(seen.repository, seen.digest, seen.tag)
        current = _current(details, seen.tag)
        there = next((d for d in details if d.digest == seen.digest), None)
        fact = self._fact(seen, there, None, current)
        change = tag_change(entry, current, None, seen.at, self.clock()) if entry else None
        if self.ledger.append(fact, change) is Appended.KNOWN:
            again = self._known_change(entry, current, seen, change)
            if again is not None:
                self.state.put(again)
        return there

    def _known_change(
        self, entry: Entry[Tag] | None, current: Digest | None, seen: Observation, change: StateChange | None
    ) -> StateChange | None:
        """The change of a tag's item by a fact that was known: only where the tag points now. What was reported stays:
        the event may equal an earlier one of the same second, so that a fact is missing, which the next sweep
        writes."""
        if entry is None or entry.found is None:
            return change
        return lost_change(entry, current, seen.digest, None, self.clock())

    def _look(self, repository: Repository, digest: Digest, tag: str | None) -> list[ImageDetail]:
        try:
            return self.source.describe(repository, [digest, *([tag] if tag else [])])
        except NotFound:
            return []  # the repository is gone

    def _fact(
        self, seen: Observation, detail: ImageDetail | None, manifest: Manifest | None, current: Digest | None
    ) -> Fact:
        change = replace(
            seen.reported_by,
            current=current if seen.tag else NOT_ASKED,
            absent=bool(seen.tag) and seen.kind is Kind.UNTAGGED and detail is None,  # with its last tag
            gone=detail is None if seen.kind is Kind.DELETED and not seen.tag else None,
        )
        if manifest is not None:
            change = replace(
                change,
                built=built(manifest) or None,
                index=manifest.is_index,
                platforms=_platforms(manifest) if manifest.is_index else None,
            )
        elif detail is not None and detail.media_type:
            change = replace(change, index=detail.media_type in INDEX_TYPES)
        return Fact(
            kind=seen.kind,
            id=fact_id(seen.kind, seen.repository, seen.tag, seen.digest, seen.key),
            at=seen.at,
            seen=whole_millis(self.clock()),
            via=seen.via,
            digest=seen.digest,
            repository=seen.repository,
            tag=seen.tag,
            media_type=manifest.media_type if manifest else detail.media_type if detail else None,
            size=detail.size if detail else None,
            actor=seen.actor,
            detail=change.dump(),
        )


def _platforms(index: Manifest) -> list[dict[str, Any]]:
    return [
        {
            "digest": c.digest,
            "platform": str(c.platform) if c.platform else None,
            "index": "index" in c.media_type or "manifest.list" in c.media_type,
        }
        for c in {c.digest: c for c in index.platform_children}.values()
    ]


def _unreadable(push: Fact, flaw: str) -> Fact:
    """The fact that the image of a push can't be read; one for each repository and reason."""
    return replace(
        push,
        kind=Kind.UNREADABLE,
        id=fact_id(Kind.UNREADABLE, push.repository, push.digest, flaw),
        tag=None,
        detail=Unreadable(flaw[:_LONGEST_REASON]).dump(),
    )


def _current(details: Sequence[ImageDetail], tag: str | None) -> Digest | None:
    """The digest that the tag points to among the listed images; None: it is not among them."""
    return next((d.digest for d in details if tag in d.tags), None) if tag else None
