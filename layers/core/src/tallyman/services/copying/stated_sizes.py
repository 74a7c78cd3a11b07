"""Finds manifests that state a wrong size for a blob of which other manifests state another size."""

from collections.abc import Iterable, Sequence
from itertools import chain

from tallyman.domain.images.manifest import Descriptor, Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import Refused
from tallyman.ports.clocks import Deadline
from tallyman.ports.copying import Origin
from tallyman.services.copying.blobs import enough_time, read_blob


def named_blobs(manifests: Iterable[Manifest]) -> Iterable[tuple[Manifest, Descriptor]]:
    """Every blob that each of the manifests names, foreign layers first."""
    return ((m, blob) for m in manifests for blob in chain(m.foreign, m.blobs, m.listed_blobs))


def misstated(
    source: Origin, repository: Location, manifests: Sequence[Manifest], deadline: Deadline
) -> dict[Digest, str]:
    """The manifests whose size of a blob is not the real one, with the reason. A blob is copied once, with one size, so
    that otherwise a single wrong descriptor would stop every image with that blob.

    Cost: nothing where all agree. Else one request to the source for each blob in dispute; where it does not announce
    the size, the whole blob is read. A blob that the source does not have is left out.
    """
    stated: dict[Digest, set[int]] = {}
    for _, blob in named_blobs(manifests):
        stated.setdefault(blob.digest, set()).add(blob.size)
    real = {d: _size(source, repository, d, deadline) for d, sizes in stated.items() if len(sizes) > 1}
    return {
        manifest.digest: f"{manifest.digest} states {blob.size} bytes for {blob.digest}, which has {size}"
        for manifest, blob in named_blobs(manifests)
        if (size := real.get(blob.digest)) not in (None, blob.size)
    }


def _size(source: Origin, repository: Location, digest: Digest, deadline: Deadline) -> int | None:
    enough_time(deadline, f"asking for the size of {digest}")
    try:
        with source.open_blob(repository, digest) as stream:
            announced = stream.size
        return read_blob(source, repository, digest, deadline).size if announced is None else announced
    except Refused:
        return None
