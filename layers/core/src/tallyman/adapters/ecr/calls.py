"""ECR's API in our words: what source, view and target have in common."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tallyman.adapters.aws.paging import listed
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import ImageDetail, RepositorySettings
from tallyman.domain.images.documents import loads
from tallyman.domain.images.manifest import MANIFEST_TYPES, Manifest
from tallyman.domain.names import Digest, EcrRegistry, Location, Repository, in_ecr
from tallyman.errors import BadInput, NotAllowed, NotFound, Refused, TallymanError, Throttled, Unreachable

_FAILURES: dict[str, type[TallymanError]] = {
    "InvalidImageDigest": BadInput,
    "InvalidImageTag": BadInput,
    "KmsError": NotAllowed,
    "UpstreamAccessDenied": NotAllowed,
    "UpstreamTooManyRequests": Throttled,
    "UpstreamUnavailable": Unreachable,
    "ImageInaccessible": Refused,  # archived, for one
}
_BATCH = 100


def image_id(reference: str) -> dict[str, str]:
    """As the API names an image: by digest or by tag."""
    return {"imageDigest": reference} if reference.startswith("sha256:") else {"imageTag": reference}


def batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    """Distinct items, a hundred at a time: ECR's limit of image ids and layer digests in a call."""
    distinct = list(dict.fromkeys(items))
    for start in range(0, len(distinct), _BATCH):
        yield distinct[start : start + _BATCH]


def mutability(settings: RepositorySettings) -> dict[str, Any]:
    """As ECR's API takes it, on creation and later."""
    if settings.immutable and settings.mutable_tags:
        return {
            "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
            "imageTagMutabilityExclusionFilters": [
                {"filterType": "WILDCARD", "filter": tag} for tag in settings.mutable_tags
            ],
        }
    return {"imageTagMutability": "IMMUTABLE" if settings.immutable else "MUTABLE"}


def names(repository: Location) -> dict[str, str]:
    """Registry and repository, as every call of the API takes them."""
    return {"registryId": in_ecr(repository.registry).account, "repositoryName": repository.name}


def read_manifest(client: Any, repository: Location, reference: str) -> Manifest | None:
    """One BatchGetImage. The API gives the manifest as text: the bytes pushed, as UTF-8.

    It counts as a pull of the image (`lastRecordedPullTime`), like every way to read a manifest.
    """
    return read_manifests(client, repository, [reference]).get(reference)


def read_manifests(client: Any, repository: Location, references: Sequence[str]) -> dict[str, Manifest]:
    """BatchGetImage, 100 a call: those that are there, by reference."""
    found: dict[str, Manifest] = {}
    for batch in batches(references):
        what = f"read the manifest {batch[0]} of {repository}"
        if len(batch) > 1:
            what = f"read {len(batch)} manifests of {repository}"
        with translated(what):
            answer = client.batch_get_image(
                **names(repository),
                imageIds=[image_id(reference) for reference in batch],
                acceptedMediaTypes=list(MANIFEST_TYPES),
            )
        missing: set[str] = set()
        for failure in answer.get("failures") or []:
            code = str(failure.get("failureCode", ""))
            missing.update(str(name) for name in (failure.get("imageId") or {}).values())
            if code not in ("ImageNotFound", "ImageTagDoesNotMatchDigest"):
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
            raise Unreachable(f"{what}: the answer says nothing of {silent[0]}")
    return found


def describe_images(client: Any, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
    """DescribeImages, 100 a call. It refuses a call in which one image is missing and names only the first: then
    the halves are asked, about 2·log2(100) calls for each that is missing."""
    found: dict[Digest, ImageDetail] = {}
    for batch in batches(references):
        for detail in _describe(client, repository, batch):
            found[detail.digest] = detail
    return list(found.values())


def _describe(client: Any, repository: Repository, references: Sequence[str]) -> list[ImageDetail]:
    request = {**names(repository), "imageIds": [image_id(r) for r in references]}
    try:
        answer = describe_page(client, repository, **request)
    except NotFound as error:
        if "RepositoryNotFoundException" in str(error):
            raise
        if len(references) == 1:
            return []
        half = len(references) // 2
        return _describe(client, repository, references[:half]) + _describe(client, repository, references[half:])
    what = f"describe images of {repository}"
    found = [detail_of(repository, image) for image in listed(answer, "imageDetails", what)]
    named = {name for detail in found for name in (detail.digest, *detail.tags)}
    if silent := [reference for reference in references if reference not in named]:
        raise Unreachable(f"{what}: the answer says nothing of {silent[0]}")
    return found


def describe_page(client: Any, repository: Repository, **request: Any) -> dict[str, Any]:
    """One DescribeImages, archived images included; where the API does not know that filter, without it."""
    what = f"describe images of {repository}"
    try:
        with translated(what):
            return dict(client.describe_images(**request, filter={"imageStatus": "ANY"}))
    except BadInput:
        with translated(what):
            return dict(client.describe_images(**request))


def missing_layers(client: Any, repository: Location, digests: Iterable[Digest]) -> set[Digest]:
    """BatchCheckLayerAvailability, 100 a call; configurations are layers to it."""
    missing: set[Digest] = set()
    for batch in batches(digests):
        with translated(f"look for {len(batch)} layers in {repository}"):
            answer = client.batch_check_layer_availability(**names(repository), layerDigests=[str(d) for d in batch])
        there = {
            layer.get("layerDigest")
            for layer in answer.get("layers") or []
            if layer.get("layerAvailability") == "AVAILABLE"
        }
        missing.update(d for d in batch if d not in there)
    return missing


def detail_of(repository: Repository, image: Mapping[str, Any]) -> ImageDetail:
    """From DescribeImages' imageDetail. Unreachable where it lacks the digest or the time of the push."""
    if not image.get("imageDigest") or not image.get("imagePushedAt"):
        raise Unreachable(f"describe images of {repository}: an image lacks its digest or the time of its push")
    subject = image.get("subjectManifestDigest")
    return ImageDetail(
        repository=repository,
        digest=Digest.parse(image["imageDigest"]),
        tags=tuple(image.get("imageTags", ())),
        size=image.get("imageSizeInBytes"),
        pushed_at=utc(image["imagePushedAt"]),
        media_type=image.get("imageManifestMediaType"),
        artifact_type=image.get("artifactMediaType"),
        subject=Digest.parse(subject) if subject else None,
        archived=image.get("imageStatus", "ACTIVE") != "ACTIVE",
        pulled_at=utc(image["lastRecordedPullTime"]) if image.get("lastRecordedPullTime") else None,
    )


def settings_of(registry: EcrRegistry, found: Mapping[str, Any]) -> RepositorySettings:
    """From DescribeRepositories' repository. One that is mutable but for some tags counts as mutable: whoever
    needs a tag to stay can't rely on it."""
    mutability = found.get("imageTagMutability", "MUTABLE")
    immutable = mutability in ("IMMUTABLE", "IMMUTABLE_WITH_EXCLUSION")
    filters = found.get("imageTagMutabilityExclusionFilters") or []
    encryption = found.get("encryptionConfiguration") or {}
    return RepositorySettings(
        repository=Repository(registry, found["repositoryName"]),
        immutable=immutable,
        mutable_tags=tuple(f["filter"] for f in filters) if immutable else (),
        encryption=encryption.get("encryptionType", "AES256"),
        kms_key=encryption.get("kmsKey"),
        scan_on_push=bool((found.get("imageScanningConfiguration") or {}).get("scanOnPush")),
        created_at=utc(found["createdAt"]) if found.get("createdAt") else None,
    )


def utc(moment: datetime) -> datetime:
    """botocore gives the zone of the machine."""
    return moment.astimezone(UTC)


def _media_type(raw: bytes) -> str:
    """What the document says of itself; empty where it says nothing: reading it then says what is wrong."""
    try:
        found = loads(raw)
    except ValueError:
        return ""
    return str(found.get("mediaType", "")) if isinstance(found, dict) else ""
