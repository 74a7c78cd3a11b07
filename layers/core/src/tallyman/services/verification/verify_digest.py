"""Verifies an image by its bytes after a push or at a person's request, records the verdict, and evaluates the
image."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tallyman.domain.events.eventbridge import ImageAction, parse_event
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES, was_removed
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.images.provenance import labels
from tallyman.domain.names import Digest, Repository, parse_tag
from tallyman.domain.plain import plain
from tallyman.domain.policy import Layers, Policy, RepositoryRule
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, BadMessage, NotFound, Unreachable
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.promotion.intents import changes_no_decision, is_intended
from tallyman.services.shared.conflicts import until_written
from tallyman.services.verification.verify_image import Level, VerifiedImage, verify
from tallyman.state import tags
from tallyman.state.stops import failed_verification, stop_change
from tallyman.state.tags import TAGS
from tallyman.values import value


@value
class _Wanted:
    """The image to verify. `at`: the time of the fact; `request`: the id of a person's request, None for an event."""

    repository: Repository
    digest: Digest
    tag: str | None
    at: datetime
    request: str | None
    correlation: str | None


@value
class VerifyDigest:
    """The reaction to pushes, and to hints `{"verify": {repository, digest, tag, request}}`."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    evaluator: Evaluator
    clock: Clock

    def handle(self, body: str, deadline: Deadline) -> str:
        """Verify one image; return the line for the log. Cost: see `verify_image.verify`, and one or two writes.

        Raises BadMessage, and Unreachable where a check of an event's image is `unknown`: that verdict is recorded, and
        the message is retried, unless a part of the image is archived: `reconcile` asks again for what waits. A person
        gets the verdict `unknown` as the answer.
        """
        wanted = self._wanted(body)
        if wanted is None:
            return "ignored: no successful push"
        facts = self.ledger.of_digest(wanted.digest) if wanted.request is None else []
        own = is_intended(facts, wanted.repository) and not was_removed(facts, wanted.repository)
        if own and wanted.tag is None:
            return "our own push: it is verified when it gets its tag, with all that belongs to it"
        rule, level = self._level(wanted, own)
        if wanted.request is None and (why := self._unreadable(wanted)):
            return why
        try:
            found = verify(
                self.source,
                wanted.repository,
                wanted.digest,
                level=level,
                platforms=rule.verify.platforms,
                deadline=deadline,
            )
        except NotFound as error:
            if wanted.request is not None:
                raise
            if why := self._unreadable(wanted):  # since it was looked at
                return why
            raise Unreachable(str(error)) from error
        checks = [plain(check) for check in found.verification.checks] + self._tag_checks(wanted, rule, own)
        verdicts = {c["verdict"] for c in checks}
        verdict = "failed" if "failed" in verdicts else "unknown" if "unknown" in verdicts else "passed"
        if not (verdict == "passed" and _is_known(facts, wanted, level, checks)):
            self._write(wanted, level, verdict, checks, found)
        if not (own and verdict == "passed" and changes_no_decision(self.policy, facts, wanted.repository)):
            self.evaluator.digest(wanted.digest, wanted.correlation, news=Kind.VERIFIED)
        if verdict == "unknown" and wanted.request is None and not found.archived:
            reasons = "; ".join(str(c["reason"]) for c in checks if c["verdict"] == "unknown")
            raise Unreachable(f"{wanted.repository}@{wanted.digest} could not be verified: {reasons}")
        return f"verification {verdict}"

    def _wanted(self, body: str) -> _Wanted | None:
        hint = _hint(body)
        if hint is not None:
            try:
                tag = hint.get("tag")
                return _Wanted(
                    Repository.parse(str(hint.get("repository"))),
                    Digest.parse(hint.get("digest")),
                    parse_tag(str(tag)) if tag else None,
                    whole_millis(self.clock()),
                    str(hint["request"]) if hint.get("request") else None,
                    None,
                )
            except BadInput as error:
                raise BadMessage(f"a hint to verify: {error}") from None
        event = parse_event(body)
        if not isinstance(event, ImageAction):
            raise BadMessage("verify_digest expects the event of a push, or a hint to verify")
        if event.action not in ("push", "replicate") or not event.succeeded:
            return None
        return _Wanted(event.repository, event.digest, event.tag, event.at, None, event.id)

    def _level(self, wanted: _Wanted, own: bool) -> tuple[RepositoryRule, Level]:
        """The repository's rule and the level of verification. Presence alone where our own promotion pushed the image:
        its content was hashed while it was copied (the gate `verified` accepts that). An image that was removed since
        may have been pushed by somebody else: its content is read."""
        rule = self.policy.repository(self.policy.environment_of(wanted.repository)[1])
        return rule, "presence" if own or rule.verify.layers is Layers.PRESENCE else "content"

    def _unreadable(self, wanted: _Wanted) -> str | None:
        """Why there is nothing to verify: the image is gone, or archived; None: there is."""
        try:
            found = self.source.describe(wanted.repository, [wanted.digest])
        except NotFound:
            found = []
        if not found:
            return "gone: the image was removed since"
        return "archived: it can't be read before it is restored" if found[0].archived else None

    def _tag_checks(self, wanted: _Wanted, rule: RepositoryRule, own: bool) -> list[dict[str, Any]]:
        """Check the tag: it is allowed, an immutable tag never moved, and it names the same digest in every
        environment."""
        tag = wanted.tag
        if tag is None:
            return []
        checks = []

        def check(name: str, fault: str | None, fine: str) -> None:
            verdict = "failed" if fault else "passed"
            checks.append({"name": name, "verdict": verdict, "reason": fault or fine, "tag": tag})

        allowed = rule.tags.allows(tag)
        check("tag_allowed", None if allowed else f"the tag {tag} is not among {rule.tags}", f"{tag} is allowed")
        if rule.create.may_move(tag):
            return checks
        others = self._same_tag_elsewhere(wanted)
        known = TAGS.get(self.state, tags.key(wanted.repository, tag))
        moved = known.moved_from if known else None
        if moved is None and not own:
            moved = self._long_before(wanted.repository, tag, wanted.digest)
        check(
            "tag_unmoved",
            f"{tag} is to be immutable, but pointed to {moved} before" if moved else None,
            f"{tag} never pointed to another image",
        )
        differing = [f"{place} has {digest}" for place, digest in others.items() if digest != wanted.digest]
        check(
            "same_everywhere",
            f"{tag} names another image elsewhere: {'; '.join(differing)}" if differing else None,
            f"no environment has another image as {tag}",
        )
        return checks

    def _long_before(self, repository: Repository, tag: str, digest: Digest) -> Digest | None:
        """Another image that the tag pointed to so long ago that its item may have expired; None: there is none."""
        before = self.clock() - tags.GONE_KEPT
        pushes = (fact for fact in self.ledger.of_tag(repository, tag, before) if fact.kind in PUSHES)
        return next((fact.digest for fact in pushes if fact.digest != digest), None)

    def _same_tag_elsewhere(self, wanted: _Wanted) -> dict[Repository, str]:
        """The digests that the tag names in the other registries and environments."""
        assert wanted.tag is not None  # asked for tags only
        own, name = self.policy.environment_of(wanted.repository)
        environments = self.policy.environments.values() if own else ()
        places = [p for each in environments for p in each.repositories(name) if p != wanted.repository]
        known = TAGS.get_many(self.state, [tags.key(place, wanted.tag) for place in places])
        pointing = {place: known.get(tags.key(place, wanted.tag)) for place in places}
        return {place: str(tag.digest) for place, tag in pointing.items() if tag and tag.digest}

    def _write(
        self, wanted: _Wanted, level: str, verdict: str, checks: list[dict[str, Any]], found: VerifiedImage
    ) -> None:
        key = wanted.request or wanted.correlation
        fact = Fact(
            kind=Kind.VERIFIED,
            id=fact_id(Kind.VERIFIED, wanted.repository, wanted.tag, wanted.digest, wanted.at, key, level, verdict),
            at=wanted.at,
            seen=whole_millis(self.clock()),
            via=Via.PERSON if wanted.request else Via.EVENT,
            digest=wanted.digest,
            repository=wanted.repository,
            tag=wanted.tag,
            media_type=found.root.media_type if found.root else None,
            size=found.size,
            detail=Verified(
                verdict=verdict,
                level=level,
                checks=checks,
                request=wanted.request,
                platforms=[plain(image) for image in found.platforms],
                labels=labels(found.labels),
            ).dump(),
        )

        def write() -> None:
            failed = verdict == "failed"
            change = stop_change(self.state, failed_verification(wanted.digest), fact) if failed else None
            self.ledger.append(fact, change)

        until_written(write, f"verifications of {wanted.digest} keep failing at once: try again")


def _is_known(facts: Sequence[Fact], wanted: _Wanted, level: str, checks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last verification of an untagged image in this repository had the same result: an image that many
    indexes share is pushed again with each of them. False for an image that was removed since, and for a person."""
    if wanted.request is not None or wanted.tag is not None or was_removed(facts, wanted.repository):
        return False
    kinds = (Kind.VERIFIED, Kind.UNREADABLE)
    there = [f for f in facts if f.kind in kinds and f.repository == wanted.repository]
    last = max(there, key=lambda f: (f.seen, f.id), default=None)
    if last is None or last.kind is Kind.UNREADABLE:
        return False
    past = Verified.parse(last)
    return (past.verdict, past.level, [c for c in past.checks if not c.get("tag")]) == (
        "passed",
        level,
        list(checks),
    )


def _hint(body: str) -> Mapping[str, Any] | None:
    """The hint in a message, or None where it is something else (an event)."""
    try:
        message = loads_writable(body)
    except ValueError:
        return None  # parse_event raises BadMessage with the reason
    hint = message.get("verify") if isinstance(message, dict) else None
    return hint if isinstance(hint, dict) else None
