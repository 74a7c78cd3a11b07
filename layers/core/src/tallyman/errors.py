"""Every error that Tallyman raises on purpose.

    TallymanError
    ├── BadInput                 the input is wrong; the same call can't succeed later
    │   ├── BadName              a digest, tag, repository, registry or image that does not parse
    │   ├── BadMessage           an event, hint or command that does not have the expected form
    │   ├── BadManifest          bytes that are not a manifest, or are more than 4 MiB
    │   └── PolicyError          an invalid tallyman.yaml
    ├── Refused                  the other side, or the policy, refuses the call; permanent
    │   ├── NotAllowed           a person or a role lacks the permission
    │   ├── NotFound             a repository, image, blob or stack that does not exist
    │   ├── TagTaken             an immutable tag that points to another digest
    │   └── Unsupported          the registry does not accept this kind or size of content
    ├── DigestMismatch           bytes that do not match their digest
    └── TransientError           the same call may succeed later; `after`: seconds to wait
        ├── Throttled            too many requests
        ├── Unreachable          no answer, a broken connection, a short body, a 5xx
        │   └── UploadExpired    the other side no longer knows the upload, or refuses to continue it
        ├── ContentMissing       a registry lacks content that a manifest names, and refuses it
        ├── UnderWay             nothing failed: ECR's replication is not finished yet
        ├── OutOfTime            the work needs more time than this run has left
        └── RevisionConflict     another writer was faster; read again and decide again
            └── LeaseHeld        another worker holds the lease; `after`: seconds until it ends

`retryable` says whether the same call may succeed later. Messages are for people: they name the image, the
registry, the rule, and what to do. Errors of boto3 and http.client never leave the adapters: they become one of these.
"""


class TallymanError(Exception):
    """The base class of all errors. `retryable` is False unless a subclass says otherwise. `code`: AWS's code of the
    error; empty where it has none."""

    retryable = False
    code = ""


class BadInput(TallymanError):
    """Wrong input. The message says what is wrong, where, and what was expected."""


class BadName(BadInput, ValueError):
    """A name that does not parse. Also a `ValueError`, so that parsers of options understand it."""


class BadMessage(BadInput):
    """An event, hint or command that does not have the expected form."""


class BadManifest(BadInput):
    """Bytes that are not a manifest of a known type, or that break the rules of their type."""


class PolicyError(BadInput):
    """An invalid tallyman.yaml. The message has one line per problem: `file:line: key: expected …, found …`."""


class Refused(TallymanError):
    """The other side, or the policy, refuses the call; it will refuse the same call again."""


class NotAllowed(Refused):
    """A missing permission. The message names the principal, the action and the resource."""


class NotFound(Refused):
    """A repository, image, blob or stack that does not exist."""


class TagTaken(Refused):
    """An immutable tag that points to another digest."""


class Unsupported(Refused):
    """The registry does not accept this kind or size of content (ECR: 405 for some OCI 1.1 artifact manifests)."""


class DigestMismatch(TallymanError):
    """Bytes whose SHA-256 is not the digest that was requested."""


class TransientError(TallymanError):
    """A failure after which the same call may succeed. `after`: seconds to wait, as the other side asked; None: it did
    not say."""

    retryable = True
    after: float | None = None


class Throttled(TransientError):
    """Too many requests."""

    def __init__(self, message: str, after: float | None = None) -> None:
        super().__init__(message)
        self.after = after


class Unreachable(TransientError):
    """No answer, a broken connection, a short body or a server error."""


class UploadExpired(Unreachable):
    """The other side no longer knows the upload, or refuses to continue it: begin a new one."""


class ContentMissing(TransientError):
    """The registry lacks content that a manifest names, and refuses the manifest: copy the content again."""


class UnderWay(TransientError):
    """Nothing failed: ECR's replication is not finished yet."""


class OutOfTime(TransientError):
    """The work needs more time than this run has left; the next run continues it."""


class RevisionConflict(TransientError):
    """A conditional write found that another writer was faster: read again, decide again."""


class LeaseHeld(RevisionConflict):
    """Another worker holds the lease, or held it and died. `after`: seconds until it ends, unless it is renewed."""

    after: float

    def __init__(self, message: str, after: float) -> None:
        super().__init__(message)
        self.after = after
