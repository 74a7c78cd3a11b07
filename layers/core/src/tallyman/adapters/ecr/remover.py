"""Remove, archive and restore images through ECR's API: only what retention's role may do."""

from collections.abc import Sequence

from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Digest, Repository
from tallyman.domain.permissions import permissions

_LISTED = "an index that was pushed since the plan lists it"


class EcrRemover(EcrAdapter):
    """`ImageRemover`, with the role that removes."""

    ROLE = "remove"
    PERMISSIONS: tuple[str, ...] = permissions("ecr:BatchDeleteImage", "ecr:UpdateImageStorageClass")

    def remove(self, repository: Repository, digests: Sequence[Digest]) -> dict[Digest, str]:
        """Return why images were not removed, by digest. One BatchDeleteImage, of at most 100 digests. Its status is
        always 200, with `failures[]`. An image that is gone already was removed; one that the answer does not name was
        not."""
        with translated(f"remove {len(digests)} images of {repository}"):
            answer = self._client(repository).batch_delete_image(
                **names(repository), imageIds=[{"imageDigest": digest} for digest in digests]
            )
        gone = {image.get("imageDigest") for image in answer.get("imageIds") or []}
        failed: dict[Digest, str] = {}
        for failure in answer.get("failures") or []:
            digest, code = (failure.get("imageId") or {}).get("imageDigest"), failure.get("failureCode", "")
            if code == "ImageNotFound":
                gone.add(digest)
            elif digest:
                reason = f"{failure.get('failureReason', 'refused')} ({code})"
                listed = code == "ImageReferencedByManifestList"
                failed[Digest(digest)] = f"{_LISTED}: it stays ({reason})" if listed else reason
        silent = "the registry's answer does not name it"
        return failed | {digest: silent for digest in digests if digest not in gone and digest not in failed}

    def store(self, repository: Repository, digest: Digest, *, archive: bool) -> None:
        """Move the image into ECR's archive, or back (`archive` False). One UpdateImageStorageClass."""
        with translated(f"{'archive' if archive else 'restore'} {repository}@{digest}"):
            self._client(repository).update_image_storage_class(
                **names(repository),
                imageId={"imageDigest": digest},
                targetStorageClass="ARCHIVE" if archive else "STANDARD",
            )
