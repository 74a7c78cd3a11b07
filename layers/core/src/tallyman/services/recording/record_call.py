"""Records API calls that CloudTrail reported, by event or in its history, with their actor."""

from tallyman.domain.events.eventbridge import REMOVING_CALLS, SETTINGS_CALLS
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.changes import Change, Settings
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.images.details import ApiCall
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger
from tallyman.services.recording.record_image import Observation, RecordImage
from tallyman.values import value


@value
class RecordCall:
    """The reaction to a call, from an event or found by `reconcile`."""

    policy: Policy
    ledger: Ledger
    images: RecordImage
    clock: Clock

    def record(self, call: ApiCall, via: Via) -> str:
        """Record a call and evaluate its images; return the line for the log."""
        line, changed = self.write(call, via)
        for digest in dict.fromkeys(changed):
            self.images.evaluator.digest(digest, call.id)
        return line

    def write(self, call: ApiCall, via: Via) -> tuple[str, list[Digest]]:
        """Record a push or removal with its actor, or a change of a repository's settings; return the line for the
        log, and the images to evaluate.

        An event names all images of a call (`parameters`), the trail names each separately; both give equal facts.
        """
        if not call.parameters:
            return "ignored: the call failed", []
        origin = call.id.partition("#")[0]
        reported_by = Change(call=origin)
        changed: list[Digest] = []
        if call.name == "PutImage":
            if call.digest is None:
                return "ignored: the call names no digest", []
            self.images.pushed(
                Observation(
                    Kind.PUSHED, call.repository, call.digest, call.tag, call.at, via, origin, call.actor, reported_by
                )
            )
            changed.append(call.digest)
        elif call.name in REMOVING_CALLS:
            images = _images_of(call) if via is Via.EVENT else [(call.digest, call.tag)]
            for digest, tag in images:
                if digest is not None:
                    key = (origin, digest, tag)
                    kind = Kind.UNTAGGED if tag else Kind.DELETED
                    gone = Observation(kind, call.repository, digest, tag, call.at, via, key, call.actor, reported_by)
                    self.images.removed(gone)
                    changed.append(digest)
        elif call.name in SETTINGS_CALLS:
            self._settings(call, via, origin)
        else:
            return f"ignored: {call.name} adds nothing to the events of the image", []
        return f"{call.name} recorded", changed

    def _settings(self, call: ApiCall, via: Via, origin: str) -> None:
        environment, _ = self.policy.environment_of(call.repository)
        fact = new_fact(
            Kind.SETTINGS_CHANGED,
            (origin,),
            Settings(origin, call.name, call.parameters),
            self.clock(),
            at=call.at,
            via=via,
            repository=call.repository,
            environment=environment.name if environment else None,
            actor=call.actor,
        )
        self.ledger.append(fact)


def _images_of(call: ApiCall) -> list[tuple[Digest | None, str | None]]:
    """Digest and tag of each image that a call named."""
    return [
        (Digest.parse(i["imageDigest"]) if i.get("imageDigest") else None, i.get("imageTag") or None)
        for i in call.parameters.get("imageIds") or ()
    ]
