"""A registry told that an image was pushed, removed, replicated or stored away: write down what is so.

Observe (parse the hint, ask the registry), write facts (conditionally), decide, enqueue; each may be repeated.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.events import REMOVING_CALLS, SETTINGS_CALLS, ImageAction, RoundTrip, ScanEnded, parse_event
from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history import PUSHES
from tallyman.domain.images import ApiCall, ImageDetail
from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.provenance import build_of, built, predicates
from tallyman.domain.times import whole_millis
from tallyman.domain.values import dataclass
from tallyman.errors import BadManifest, BadMessage, NotFound, StateMoved
from tallyman.ports import Appended, Archive, Clock, ImageSource, Ledger, Notices, State
from tallyman.services.gather import tag_partition
from tallyman.services.holdings import hold, lost_change, mark_active, tag_change
from tallyman.services.judge import Judge
from tallyman.services.read_signing import ReadSigning
from tallyman.services.retention_hints import hint_after_push
from tallyman.services.round_trip import arrived
from tallyman.services.stowaways import report_stowaway

_TRIES = 8
_RETOLD = timedelta(seconds=1)
"""An event's time is the push's, cut to whole seconds."""
_KINDS = {
    "push": Kind.PUSHED,
    "replicate": Kind.REPLICATED,
    "archive": Kind.ARCHIVED,
    "restore": Kind.RESTORED,
}
_STORAGE = (Kind.ARCHIVED, Kind.RESTORED)


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be written down of one image. `at`: the registry's time; `key`: what tells this happening from
    others (an event's time, the revision that a sweep corrects), part of the fact's id.

    `detail`: the image as a sweep has just listed it, after it had read `revision` of the tag's item: saves asking
    the registry once more, and is not believed if the item has changed since.
    """

    kind: Kind
    repository: Repository
    digest: Digest
    tag: str | None
    at: datetime
    via: Via
    key: object
    actor: str | None = None
    extra: Mapping[str, Any] | None = None
    detail: ImageDetail | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class RecordPush:
    """The reaction to ECR's image events. `reconcile` writes what it finds through the same methods."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    archive: Archive
    notices: Notices
    judge: Judge
    clock: Clock
    signing: ReadSigning | None = None

    def handle(self, body: str) -> str:
        """Reacts to one event; a word for the log. Raises BadMessage for what it can't be, Passing to be tried again.

        Cost for a push: BatchGetImage, DescribeImages, one archive object, and about seven writes.
        """
        event = parse_event(body)
        if isinstance(event, ScanEnded):
            raise BadMessage("a scan's event is not for record_push")
        if isinstance(event, RoundTrip):
            return arrived(self.state, event, self.clock())
        mark_active(self.state, event.repository, self.clock())
        if isinstance(event, ApiCall):
            return self.call(event, Via.EVENT)
        if not event.succeeded:
            return "ignored: the registry says that the action failed"
        return self.action(event)

    def action(self, event: ImageAction) -> str:
        """Writes down one image action and decides."""
        extra: dict[str, Any] = {"event": event.id} | ({"source": str(event.source)} if event.source else {})
        if event.action == "delete":
            self.removed(event.repository, event.digest, event.tag, event.at, Via.EVENT, event.at, extra)
        else:
            kind = _KINDS[event.action]
            seen = Seen(kind, event.repository, event.digest, event.tag, event.at, Via.EVENT, event.at, extra=extra)
            self.pushed(seen)
        self.judge.digest(event.digest, event.id)
        if event.action in ("push", "replicate"):
            hint_after_push(self.policy, self.state, self.judge.hints, event.repository, self.clock())
        return f"{event.action} recorded"

    def pushed(self, seen: Seen, *, tell: bool = True) -> bool:
        """Writes down that an image is there, what its tag points to now, and how it hangs together with others.

        True: it is a stowaway that was not known. Without `tell` telling people of it is the caller's.
        """
        listed = seen.detail
        for _ in range(_TRIES):
            item = self.state.get(tag_partition(seen.repository), seen.tag) if seen.tag else None
            if listed is not None and seen.tag and (item.revision if item else 0) != seen.revision:
                listed = None  # an event was recorded since the sweep's look
            details = [listed] if listed else self._look(seen.repository, seen.digest, seen.tag)
            listed = None
            detail = next((d for d in details if d.digest == seen.digest), None)
            manifest = self.source.manifest(seen.repository, seen.digest) if detail else None
            current = _current(details, seen.tag)
            if manifest is not None:
                self.archive.put("manifests", manifest.raw)
                self._relate(seen, manifest)
            fact = self._fact(seen, detail, manifest, current)
            told = seen.digest if seen.kind in PUSHES else current
            if detail and current == seen.digest and detail.pushed_at > seen.at + _RETOLD:
                told = None  # it was removed since, and pushed again: this push's time is past
            change = tag_change(item, seen.repository, seen.tag, current, told, seen.at) if seen.tag else None
            try:
                if self.ledger.append(fact, change) is Appended.KNOWN and change is not None:
                    self.state.put(change)  # it was written when the tag pointed elsewhere
                # what was told, not what is: so that a sweep sees where a fact is missing
                archived = seen.kind is Kind.ARCHIVED if seen.kind in _STORAGE else None
                hold(self.state, seen.repository, seen.digest, detail is not None, archived, self.clock())
            except StateMoved:
                continue  # another reaction moved the tag meanwhile: ask the registry again
            self._judge_subject(seen, manifest)
            return report_stowaway(self.policy, self.ledger, self.notices, fact, tell)
        raise StateMoved(f"{seen.repository}:{seen.tag} keeps changing: try again")

    def removed(
        self,
        repository: Repository,
        digest: Digest,
        tag: str | None,
        at: datetime,
        via: Via,
        key: object,
        extra: Mapping[str, Any] | None = None,
        actor: str | None = None,
    ) -> None:
        """Writes down that a tag, or an image with all its tags, was removed; what remains is asked of the registry.

        An image that is gone took its tags along.
        """
        for _ in range(_TRIES):
            seen = Seen(Kind.UNTAGGED if tag else Kind.DELETED, repository, digest, tag, at, via, key, actor, extra)
            try:
                there = self._vanished(seen)
                if tag is None or there is None:
                    for item in list(self.state.list(tag_partition(repository))):
                        if digest in (item.data.get("digest"), item.data.get("told")):
                            current = _current(self._look(repository, digest, item.sk), item.sk)
                            if lost := lost_change(item, current, digest, at if tag is None else None):
                                self.state.put(lost)
                if there is None:  # that it is there again is for the push's fact to say
                    hold(self.state, repository, digest, False, None, self.clock())
            except StateMoved:
                continue
            if there is None:
                self._judge_bereft(digest)
            return
        raise StateMoved(f"{repository}@{digest} keeps changing: try again")

    def _vanished(self, seen: Seen) -> ImageDetail | None:
        """One removal: the fact, and with it where the tag points now. The image, if it is still there. Raises
        StateMoved. The state is read before the registry is asked, so that an older answer never replaces a newer."""
        item = self.state.get(tag_partition(seen.repository), seen.tag) if seen.tag else None
        details = self._look(seen.repository, seen.digest, seen.tag)
        current = _current(details, seen.tag)
        there = next((d for d in details if d.digest == seen.digest), None)
        fact = self._fact(seen, there, None, current)
        change = tag_change(item, seen.repository, seen.tag, current, None, seen.at) if seen.tag else None
        if self.ledger.append(fact, change) is Appended.KNOWN and change is not None:
            self.state.put(change)
        return there

    def call(self, call: ApiCall, via: Via) -> str:
        """Writes down who did it: a push or removal with its actor, or a change of a repository's settings.

        An event tells of all images of a call (`parameters`), the trail of each by itself; both give equal facts.
        """
        if not call.parameters:
            return "ignored: the call failed"
        origin = call.id.partition("#")[0]
        extra = {"call": origin}
        if call.name == "PutImage":
            if call.digest is None:
                return "ignored: the call names no digest"
            self.pushed(
                Seen(Kind.PUSHED, call.repository, call.digest, call.tag, call.at, via, origin, call.actor, extra)
            )
            self.judge.digest(call.digest, call.id)
        elif call.name in REMOVING_CALLS:
            images = _images_of(call) if via is Via.EVENT else [(call.digest, call.tag)]
            for digest, tag in images:
                if digest is not None:
                    key = (origin, digest, tag)
                    self.removed(call.repository, digest, tag, call.at, via, key, extra, call.actor)
                    self.judge.digest(digest, call.id)
        elif call.name in SETTINGS_CALLS:
            environments = self.policy.environments_of(call.repository.registry, call.repository.name)
            fact = Fact(
                kind=Kind.SETTINGS_CHANGED,
                id=fact_id(Kind.SETTINGS_CHANGED, origin),
                at=call.at,
                seen=whole_millis(self.clock()),
                via=via,
                repository=call.repository,
                environment=environments[0][0].name if environments else None,
                actor=call.actor,
                detail=extra | {"name": call.name, "parameters": dict(call.parameters)},
            )
            self.ledger.append(fact)
        else:
            return f"ignored: {call.name} tells nothing that an event of the image does not"
        return f"{call.name} recorded"

    def _look(self, repository: Repository, digest: Digest, tag: str | None) -> list[ImageDetail]:
        try:
            return self.source.describe(repository, [digest, *([tag] if tag else [])])
        except NotFound:
            return []  # the repository was removed since

    def _judge_subject(self, seen: Seen, manifest: Manifest | None) -> None:
        """What refers to another image (a signature) decides that one anew; about the image itself the caller does."""
        subject = manifest.subject.digest if manifest is not None and manifest.subject is not None else None
        if self.signing is not None:
            self.signing.refresh(subject or seen.digest)
        if subject is not None:
            self.judge.digest(subject)

    def _judge_bereft(self, digest: Digest) -> None:
        """What it referred to (a signature, its image) is decided anew: by the manifest that was kept when it came."""
        raw = self.archive.get("manifests", digest)
        if raw is None:
            return  # it was never read: no fact says that it refers to anything
        try:
            subject = Manifest.parse(raw).subject
        except BadManifest:
            return
        if subject is not None:
            if self.signing is not None:
                self.signing.refresh(subject.digest)
            self.judge.digest(subject.digest)

    def _relate(self, seen: Seen, manifest: Manifest) -> None:
        """In each child's partition its index, in a subject's its referrer: so that one read of those finds them.

        What buildx puts into an index about one of its images (`unknown/unknown`) refers to that image.
        """
        for child in manifest.children:
            self._append_relation(Kind.CHILD_OF, child.digest, seen, seen.digest, {"index": seen.digest})
            if child.is_attestation:
                about = child.annotations.get("vnd.docker.reference.digest", "")
                statement = self.source.manifest(seen.repository, child.digest)
                if statement is not None and any(str(c.digest) == about for c in manifest.children):
                    self._refer(Digest.parse(about), seen, statement)
        if manifest.subject is not None:
            self._refer(manifest.subject.digest, seen, manifest)

    def _refer(self, subject: Digest, seen: Seen, referrer: Manifest) -> None:
        """Once for each repository that holds the referrer: what lies elsewhere says nothing about what is here."""
        told: dict[str, Any] = {
            "referrer": str(referrer.digest),
            "artifact_type": referrer.artifact_type or "",
            "predicates": predicates(referrer),
            "repository": str(seen.repository),
        }
        if build := build_of(referrer):
            told["build"] = build
        self._append_relation(Kind.REFERRED, subject, seen, referrer.digest, told)

    def _append_relation(
        self, kind: Kind, digest: Digest, seen: Seen, other: Digest, detail: Mapping[str, Any]
    ) -> None:
        # no time of its own: bytes that name other bytes have always done so; a fixed key makes the fact one for ever
        fact = Fact(
            kind=kind,
            id=fact_id(kind, digest, other, detail.get("repository")),
            at=datetime.fromtimestamp(0, tz=seen.at.tzinfo),
            seen=whole_millis(self.clock()),
            via=seen.via,
            digest=digest,
            detail=detail,
        )
        self.ledger.append(fact)

    def _fact(self, seen: Seen, detail: ImageDetail | None, manifest: Manifest | None, current: Digest | None) -> Fact:
        more: dict[str, Any] = dict(seen.extra or {})
        if seen.tag:
            more["current"] = current
            if seen.kind is Kind.UNTAGGED and detail is None:
                more["absent"] = True  # its last tag took it along
        elif seen.kind is Kind.DELETED:
            more["gone"] = detail is None
        if manifest is not None:
            if commit := built(manifest):
                more["built"] = commit
            more["index"] = manifest.is_index
            if manifest.is_index:
                more["platforms"] = [
                    {
                        "digest": c.digest,
                        "platform": str(c.platform) if c.platform else None,
                        "index": "index" in c.media_type or "manifest.list" in c.media_type,
                    }
                    for c in manifest.platform_children
                ]
        return Fact(
            kind=seen.kind,
            id=fact_id(seen.kind, seen.repository, seen.tag, seen.digest, seen.key),
            at=seen.at,
            seen=whole_millis(self.clock()),
            via=seen.via,
            digest=seen.digest,
            repository=seen.repository,
            tag=seen.tag,
            media_type=manifest.media_type if manifest else None,
            size=detail.size if detail else None,
            actor=seen.actor,
            detail=more,
        )


def _current(details: Sequence[ImageDetail], tag: str | None) -> Digest | None:
    """What the tag points to, of what was just listed."""
    return next((d.digest for d in details if tag in d.tags), None) if tag else None


def _images_of(call: ApiCall) -> list[tuple[Digest | None, str | None]]:
    """Digest and tag of each image that a call named."""
    return [
        (Digest.parse(i["imageDigest"]) if i.get("imageDigest") else None, i.get("imageTag") or None)
        for i in call.parameters.get("imageIds") or ()
    ]
