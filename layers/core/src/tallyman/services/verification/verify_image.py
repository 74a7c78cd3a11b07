"""Verifies one image of one registry by digest, from the raw bytes. Writes nothing: the caller records the verdict.

Cost, for a graph of M manifests (attestations too), P of them images for a platform, and B distinct blobs of S
bytes: M reads of manifests, ⌈B/100⌉ requests for blobs, a read of each image's configuration, at most P + nested
indexes + 1 requests for referrers. `content` also reads S bytes: each blob once, in chunks of at most 1 MiB,
`workers` at a time, nothing stored. Independent requests are made in parallel.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

from tallyman.domain.images.manifest import Manifest
from tallyman.domain.images.verification import PlatformImage, Verification
from tallyman.domain.names import Digest, Repository
from tallyman.ports.clocks import Deadline
from tallyman.ports.registries import ImageSource
from tallyman.services.verification.inspect_image import Inspection
from tallyman.values import value

Level = Literal["presence", "content"]


@value
class VerifiedImage:
    """The verdict, and the properties of the image that the verification read.

    `root`: the manifest of the image or index itself; None if it could not be read, or is damaged. `platforms`: in the
    order of the index, without attestations. `size`: compressed bytes over all platforms, None if not all could be
    read. `labels`: the configuration's (of an index: those that all its platforms share). `archived`: a part of the
    image is in ECR's archive, and can't be read before it is restored.
    """

    verification: Verification
    root: Manifest | None
    platforms: tuple[PlatformImage, ...]
    size: int | None
    labels: Mapping[str, str]
    archived: bool = False


def verify(  # noqa: PLR0913 - which image, and how far and how long to look: all named
    source: ImageSource,
    repository: Repository,
    digest: Digest,
    *,
    level: Level,
    deadline: Deadline,
    platforms: Sequence[str] = (),
    workers: int = 4,
) -> VerifiedImage:
    """Check the image, its children at any depth, their configurations and layers, and list its referrers.

    `platforms`: those that the policy requires (`linux/amd64`). A transient error (Unreachable, Throttled, OutOfTime)
    makes a check `unknown`. Raises NotFound if the repository or the image itself is not there, and Refused (such as
    NotAllowed), which says nothing about the image.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="verify") as pool:
        work = Inspection(source, repository, digest, deadline, pool)
        work.read_manifests()
        work.read_configs()
        work.look_for_blobs()
        if level == "content":
            work.hash_blobs()
        work.list_referrers()
    image = work.image
    images = image.images()
    image.compare_platforms(images, platforms)
    sizes = [each.size for each in {each.digest: each for each in images}.values()]
    return VerifiedImage(
        verification=image.verification(),
        root=image.manifests.get(digest),
        platforms=tuple(
            PlatformImage(i.platform.os, i.platform.architecture, i.platform.variant, i.digest, i.size)
            for i in images
            if i.platform
        ),
        size=sum(s for s in sizes if s is not None) if None not in sizes else None,
        labels=_common([image.configs[i.digest].labels for i in images if i.digest in image.configs]),
        archived=bool(work.archived),
    )


def _common(labels: Sequence[Mapping[str, str]]) -> Mapping[str, str]:
    return {k: v for k, v in labels[0].items() if all(x.get(k) == v for x in labels)} if labels else {}
