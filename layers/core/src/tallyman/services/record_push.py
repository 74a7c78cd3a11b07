"""A registry told that an image was pushed, removed, replicated or stored away: write down what is so.

Observe (parse the hint, ask the registry), write facts (conditionally), decide, enqueue; each may be repeated.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallyman.domain.events import IMAGE_CALLS, ImageAction, ScanEnded, parse_event
from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images import ApiCall, ImageDetail
from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import BadMessage, NotFound, StateMoved
from tallyman.ports import Appended, Archive, Clock, ImageSource, Ledger, Notices, State, StateChange
from tallyman.services.gather import tag_partition
from tallyman.services.judge import Judge

_TRIES = 8
_KINDS = {
    "push": Kind.PUSHED,
    "replicate": Kind.REPLICATED,
    "archive": Kind.ARCHIVED,
    "restore": Kind.RESTORED,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What is to be written down of one image. `at`: the registry's time; `key`: what tells this happening from
    others (an event's time, the revision that a sweep corrects), part of the fact's id."""

    kind: Kind
    repository: Repository
    digest: Digest
    tag: str | None
    at: datetime
    via: Via
    key: object
    actor: str | None = None
    extra: Mapping[str, Any] | None = None


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

    def handle(self, body: str) -> str:
        """Reacts to one event; a word for the log. Raises BadMessage for what it can't be, Passing to be tried again.

        Cost for a push: BatchGetImage, DescribeImages, one archive object, and about five writes.
        """
        event = parse_event(body)
        if isinstance(event, ScanEnded):
            raise BadMessage("a scan's event is not for record_push")
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
        return f"{event.action} recorded"

    def pushed(self, seen: Seen) -> None:
        """Writes down that an image is there, what its tag points to now, and how it hangs together with others."""
        for _ in range(_TRIES):
            details = self._look(seen.repository, seen.digest, seen.tag)
            detail = next((d for d in details if d.digest == seen.digest), None)
            manifest = self.source.manifest(seen.repository, seen.digest) if detail else None
            current = next((d.digest for d in details if seen.tag in d.tags), None) if seen.tag else None
            if manifest is not None:
                self.archive.put("manifests", manifest.raw)
                self._relate(seen, manifest)
            fact = self._fact(seen, detail, manifest, current)
            try:
                change = self._points(seen.repository, seen.tag, current, seen.at) if seen.tag else None
                known = self.ledger.append(fact, change) is Appended.KNOWN
                if known and seen.tag:  # it may have been written when the tag pointed elsewhere
                    self.point(seen.repository, seen.tag, current, seen.at)
            except StateMoved:
                continue  # another reaction moved the tag meanwhile: ask the registry again
            self._stowaway(seen, fact)
            return
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
        """Writes down that a tag, or an image with all its tags, was removed; what remains is asked of the registry."""
        details = self._look(repository, digest, tag)
        current = next((d.digest for d in details if tag in d.tags), None) if tag else None
        kind = Kind.UNTAGGED if tag else Kind.DELETED
        fact = self._fact(Seen(kind, repository, digest, tag, at, via, key, actor, extra), None, None, current)
        self.ledger.append(fact)
        if tag:
            self.point(repository, tag, current, at)
        if not any(d.digest == digest for d in details):
            for item in list(self.state.list(tag_partition(repository))):
                if item.data.get("digest") == digest:
                    self.point(repository, item.sk, None, at)

    def call(self, call: ApiCall, via: Via) -> str:
        """Writes down who did it: a push or removal with its actor, or a change of a repository's settings."""
        if not call.parameters:
            return "ignored: the call failed"
        extra = {"call": call.id}
        if call.name == "PutImage" and call.digest:
            self.pushed(
                Seen(Kind.PUSHED, call.repository, call.digest, call.tag, call.at, via, call.id, call.actor, extra)
            )
            self.judge.digest(call.digest, call.id)
        elif call.name == "BatchDeleteImage":
            for image in call.parameters.get("imageIds") or ():
                if image.get("imageDigest"):
                    digest, tag = Digest.parse(image["imageDigest"]), image.get("imageTag") or None
                    self.removed(call.repository, digest, tag, call.at, via, (call.id, digest, tag), extra, call.actor)
        elif call.name not in IMAGE_CALLS:
            environments = self.policy.environments_of(call.repository.registry, call.repository.name)
            fact = Fact(
                kind=Kind.SETTINGS_CHANGED,
                id=fact_id(Kind.SETTINGS_CHANGED, call.id),
                at=call.at,
                seen=whole_millis(self.clock()),
                via=via,
                repository=call.repository,
                environment=environments[0][0].name if environments else None,
                actor=call.actor,
                detail=extra | {"name": call.name, "parameters": dict(call.parameters)},
            )
            self.ledger.append(fact)
        return f"{call.name} recorded"

    def point(self, repository: Repository, tag: str, digest: Digest | None, at: datetime) -> None:
        """Sets what the tag points to in the state table, if that is news. Raises StateMoved."""
        change = self._points(repository, tag, digest, at)
        if change is not None:
            self.state.put(change)

    def _look(self, repository: Repository, digest: Digest, tag: str | None) -> list[ImageDetail]:
        try:
            return self.source.describe(repository, [digest, *([tag] if tag else [])])
        except NotFound:
            return []  # the repository was removed since

    def _points(self, repository: Repository, tag: str, digest: Digest | None, at: datetime) -> StateChange | None:
        item = self.state.get(tag_partition(repository), tag)
        old = item.data.get("digest") if item else None
        if item is not None and old == digest or item is None and digest is None:
            return None
        # `moved_from` stays while the tag only vanishes: verification asks whether an immutable tag ever moved
        moved_from = old or (item.data.get("moved_from") if item else None)
        data = {"digest": digest, "at": format_time(at), "moved_from": moved_from if moved_from != digest else None}
        return StateChange(tag_partition(repository), tag, item.revision if item else 0, data)

    def _relate(self, seen: Seen, manifest: Manifest) -> None:
        """In each child's partition its index, in a subject's its referrer: so that one read of those finds them."""
        for child in manifest.children:
            self._append_relation(Kind.CHILD_OF, child.digest, seen, {"index": seen.digest})
        if manifest.subject is not None:
            told = {"referrer": str(seen.digest), "artifact_type": manifest.artifact_type or ""}
            self._append_relation(Kind.REFERRED, manifest.subject.digest, seen, told)

    def _append_relation(self, kind: Kind, digest: Digest, seen: Seen, detail: Mapping[str, Any]) -> None:
        # no time of its own: bytes that name other bytes have always done so; a fixed key makes the fact one for ever
        fact = Fact(
            kind=kind,
            id=fact_id(kind, digest, seen.digest),
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
        if manifest is not None:
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

    def _stowaway(self, seen: Seen, fact: Fact) -> None:
        """Reports an image in an environment that only promotions fill, if no promotion meant to bring it there."""
        if seen.kind not in (Kind.PUSHED, Kind.REPLICATED):
            return
        for environment, name in self.policy.environments_of(seen.repository.registry, seen.repository.name):
            if not self.policy.is_target(environment.name, name):
                continue
            if is_intended(self.ledger.of_digest(seen.digest), seen.repository):
                return
            found = Fact(
                kind=Kind.STOWAWAY,
                id=fact_id(Kind.STOWAWAY, seen.repository, seen.tag, seen.digest),
                at=fact.at,
                seen=fact.seen,
                via=seen.via,
                digest=seen.digest,
                repository=seen.repository,
                tag=seen.tag,
                actor=seen.actor,
                detail={"environment": environment.name},
            )
            known = any(f.id == found.id for f in self.ledger.of_digest(seen.digest))
            if known:
                return
            image = f"{name}:{seen.tag}" if seen.tag else f"{name}@{seen.digest}"
            # told before it is written: a crash in between tells twice, never not at all
            self.notices.publish(
                f"stowaway in {environment.name}: {name}",
                f"{image} is in {seen.repository.registry} ({environment.name}), but no promotion brought it there.\n"
                f"Digest: {seen.digest}\nPushed: {format_time(seen.at)} by {seen.actor or 'somebody (CloudTrail knows)'}",
                {"kind": "stowaway", "environment": environment.name, "repository": name},
            )
            self.ledger.append(found)


def is_intended(facts: list[Fact], repository: Repository) -> bool:
    """Whether a promotion meant to bring the digest of these facts into this repository."""
    return any(
        f.kind is Kind.INTENDED
        and str(repository.registry) in f.detail["registries"]
        and f.detail["repository"] == repository.name
        for f in facts
    )
