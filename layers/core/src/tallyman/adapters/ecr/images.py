"""Read manifests, and which blobs there are, in sources and targets alike."""

from collections.abc import Iterable, Sequence

from tallyman.adapters.aws.paging import batches, listed
from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.documents import loads
from tallyman.domain.images.manifest import MANIFEST_TYPES, Manifest
from tallyman.domain.names import Digest, Location
from tallyman.errors import BadInput, NotAllowed, Refused, TallymanError, Throttled, Unreachable

_FAILURES: dict[str, type[TallymanError]] = {
    "InvalidImageDigest": BadInput,
    "InvalidImageTag": BadInput,
    "KmsError": NotAllowed,
    "UpstreamAccessDenied": NotAllowed,
    "UpstreamTooManyRequests": Throttled,
    "UpstreamUnavailable": Unreachable,
}


_MISSING = frozenset({"ImageNotFound", "ImageTagDoesNotMatchDigest", "ImageInaccessible"})
"""The codes for images that can't be had: also for archived ones, for which AWS does not document whether the code is
ImageNotFound or ImageInaccessible. Those are listed as archived (`ImageDetail`), and must not keep others from being
read."""


class EcrImages(EcrAdapter):
    """Reads through ECR's API, with the role of the subclass. ECR counts every read of a manifest as a pull of the
    image (`lastRecordedPullTime`)."""

    def manifest(self, repository: Location, reference: str) -> Manifest | None:
        """One BatchGetImage; None where there is no such image, or it is archived."""
        return self.manifests(repository, [reference]).get(reference)

    def manifests(self, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
        """The manifests that exist and are not archived, by reference. One BatchGetImage for 100 references, which
        returns the pushed bytes as text in UTF-8."""
        found: dict[str, Manifest] = {}
        for batch in batches(references):
            what = f"read the manifest {batch[0]} of {repository}"
            if len(batch) > 1:
                what = f"read {len(batch)} manifests of {repository}"
            with translated(what):
                answer = self._client(repository).batch_get_image(
                    **names(repository),
                    imageIds=[image_id(reference) for reference in batch],
                    acceptedMediaTypes=list(MANIFEST_TYPES),
                )
            missing: set[str] = set()
            for failure in answer.get("failures") or []:
                code = str(failure.get("failureCode", ""))
                missing.update(str(name) for name in (failure.get("imageId") or {}).values())
                if code not in _MISSING:
                    kind = _FAILURES.get(code, Refused)
                    raise kind(f"{what}: {failure.get('failureReason', 'refused')} ({code})")
            for image in listed(answer, "images", what):
                raw = image["imageManifest"].encode("utf-8", "surrogatepass")
                manifest = Manifest(raw, image.get("imageManifestMediaType") or _media_type(raw))
                if len(batch) == 1:
                    found[batch[0]] = manifest
                    continue
                named = image.get("imageId", {})
                found.update((r, manifest) for r in (named.get("imageDigest"), named.get("imageTag")) if r in batch)
            if silent := [r for r in batch if r not in found and r not in missing]:
                raise Unreachable(f"{what}: the answer does not name {silent[0]}")
        return found

    def missing_blobs(self, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
        """The blobs that the repository lacks. One BatchCheckLayerAvailability for 100 digests; to ECR, configurations
        are layers too."""
        missing: set[Digest] = set()
        for batch in batches(digests):
            with translated(f"look for {len(batch)} layers in {repository}"):
                answer = self._client(repository).batch_check_layer_availability(
                    **names(repository), layerDigests=[str(d) for d in batch]
                )
            there = {
                layer.get("layerDigest")
                for layer in answer.get("layers") or []
                if layer.get("layerAvailability") == "AVAILABLE"
            }
            missing.update(d for d in batch if d not in there)
        return missing


def image_id(reference: str) -> dict[str, str]:
    """The API's `imageId` of a digest or a tag."""
    return {"imageDigest": reference} if reference.startswith("sha256:") else {"imageTag": reference}


def _media_type(raw: bytes) -> str:
    """The document's own `mediaType`; empty where it has none: `Manifest` then reports what is wrong."""
    try:
        found = loads(raw)
    except ValueError:
        return ""
    return str(found.get("mediaType", "")) if isinstance(found, dict) else ""
