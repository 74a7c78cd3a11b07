"""Every error that Tallyman raises on purpose.

    TallymanError
    ├── BadInput                 what was given can't be right; trying again changes nothing
    │   ├── BadName              a digest, tag, repository, registry or image that does not parse
    │   ├── BadMessage           an event or a hint that is not of the expected form
    │   ├── BadManifest          bytes that are no manifest, or too many of them
    │   └── PolicyError          tallyman.yaml: file, line and what was expected
    ├── Refused                  somebody with authority said no; permanent
    │   ├── NotAllowed           a person or a role without the permission
    │   ├── NotFound             a repository, image, blob or stack that is not there
    │   ├── TagTaken             an immutable tag that names another digest
    │   └── Unsupported          the registry does not take this kind of artifact
    ├── DigestMismatch           bytes are not what their digest says
    └── TransientError           may succeed if tried again
        ├── Throttled            too many requests; `after` seconds are asked for
        ├── Unreachable          no answer, a broken connection, a short body, a 5xx
        │   └── UploadExpired    an upload that the other side knows no more, or refuses to go on with
        ├── UnderWay                 nothing failed: ECR's replication takes its time
        ├── OutOfTime            the work does not fit what is left of this run
        └── RevisionConflict     another writer was faster; read again and decide again
            └── LeaseHeld        another worker is at it; `after` seconds from now its lease ends, or is renewed

`retryable` says whether the same call may succeed later. Messages are for people: they name the image, the
registry, the rule, and what to do. Errors of boto3 and urllib3 never leave the adapters: they become one of these.
"""


class TallymanError(Exception):
    """The root. `retryable` is False unless a subclass says otherwise."""

    retryable = False


class BadInput(TallymanError):
    """What was given can't be right: what was wrong, where, what was expected."""


class BadName(BadInput, ValueError):
    """A name that does not parse; a `ValueError` too, so that parsers of options understand it."""


class BadMessage(BadInput):
    """An event, hint or command that is not of the expected form."""


class BadManifest(BadInput):
    """Bytes that are no manifest of a kind that is known, or that break its rules."""


class PolicyError(BadInput):
    """tallyman.yaml is not valid. The text has one line a problem: `file:line: key: what was expected, found …`."""


class Refused(TallymanError):
    """Somebody with authority said no; the same call will be refused again."""


class NotAllowed(Refused):
    """Permission is missing; the message names who, the action and the resource."""


class NotFound(Refused):
    """What was asked for is not there."""


class TagTaken(Refused):
    """The tag exists, is immutable and names another digest."""


class Unsupported(Refused):
    """The registry does not take this kind of artifact (ECR: 405 for some OCI 1.1 artifact manifests)."""


class DigestMismatch(TallymanError):
    """Bytes do not hash to the digest that they were asked for by."""


class TransientError(TallymanError):
    """May succeed if tried again."""

    retryable = True


class Throttled(TransientError):
    """Too many requests. `after`: seconds that the other side asked to wait, or None."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Unreachable(TransientError):
    """No answer, a broken connection, a short body or a server error."""


class UploadExpired(Unreachable):
    """The other side knows the upload no more, or refuses to go on with it: begin a new one."""


class UnderWay(TransientError):
    """Nothing failed: what is waited for takes its time (ECR's replication)."""


class OutOfTime(TransientError):
    """What is left of this run does not suffice; go on in the next."""


class RevisionConflict(TransientError):
    """A conditional write found that another writer was faster: read again, decide again."""


class LeaseHeld(RevisionConflict):
    """Another worker is at it, or was and died. `after`: seconds until its lease ends, unless it renews it."""

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after
