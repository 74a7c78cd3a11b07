"""Callbacks of a copy that runs, for progress and counts. They are called from many threads at once."""

from tallyman.domain.names import Digest, Location


class CopyProgress:
    """Ignores every call; subclasses override what they need."""

    def lacking(self, repository: Location, blobs: dict[Digest, int], held: int) -> None:
        """A target lacks these blobs (with their sizes in bytes), and already has `held` others."""

    def sent(self, repository: Location, digest: Digest, count: int) -> None:
        """`count` more bytes of a blob were sent to a target."""

    def uploaded(self, repository: Location, digest: Digest, size: int) -> None:
        """A blob was uploaded to a target."""

    def mounted(self, repository: Location, digest: Digest, size: int) -> None:
        """A blob was mounted from another repository of the same registry."""

    def read(self, digest: Digest, count: int) -> None:
        """`count` more bytes of a blob were read from the source."""

    def pushed(self, repository: Location, digest: Digest) -> None:
        """A manifest was put into a target."""


class CopiedBytes(CopyProgress):
    """Sums the sizes of the blobs that were uploaded. A blob that takes several runs counts in the last of them."""

    def __init__(self) -> None:
        self._sizes: list[int] = []  # many threads may append, but not add, without a lock

    def uploaded(self, repository: Location, digest: Digest, size: int) -> None:
        """Add the blob."""
        self._sizes.append(size)

    @property
    def total(self) -> int:
        """The bytes until now, once for each target."""
        return sum(self._sizes)
