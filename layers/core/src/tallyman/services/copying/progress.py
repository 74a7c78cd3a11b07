"""Callbacks while a copy runs: for progress, for counts. Called from many threads at once."""

from tallyman.domain.names import Digest, Location


class CopyProgress:
    """Hears nothing; subclasses do."""

    def lacking(self, repository: Location, blobs: dict[Digest, int], held: int) -> None:
        """A target lacks these blobs (size in bytes), and holds `held` others already."""

    def sent(self, repository: Location, digest: Digest, count: int) -> None:
        """So many bytes of a blob went to a target."""

    def uploaded(self, repository: Location, digest: Digest, size: int) -> None:
        """A blob is there now."""

    def mounted(self, repository: Location, digest: Digest, size: int) -> None:
        """A blob was taken over from another repository of the registry."""

    def read(self, digest: Digest, count: int) -> None:
        """So many bytes of a blob came from the source."""

    def pushed(self, repository: Location, digest: Digest) -> None:
        """A manifest is there now."""
