"""Upload layers in parts through ECR's API: InitiateLayerUpload, UploadLayerPart, CompleteLayerUpload."""

from typing import Any

from botocore.exceptions import ClientError

from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import code_of, message_of, translated
from tallyman.domain.names import Digest, Location
from tallyman.domain.permissions import permissions
from tallyman.errors import UploadExpired


class EcrLayerUploads(EcrAdapter):
    """`LayerUploads`, with the role that pushes."""

    ROLE = "push"
    PERMISSIONS: tuple[str, ...] = permissions(
        "ecr:CompleteLayerUpload",
        "ecr:InitiateLayerUpload",
        "ecr:UploadLayerPart",
    )

    def begin(self, repository: Location, digest: Digest) -> str:
        with translated(f"begin to upload {digest.short} to {repository}"):
            return str(self._client(repository).initiate_layer_upload(**names(repository))["uploadId"])

    def send_part(self, repository: Location, session: str, first: int, part: bytes) -> int:
        """Return how many bytes ECR has. InvalidLayerPartException also says this, as lastValidByteReceived: after a
        lost answer ECR has the part already. Raises UploadExpired where the upload must begin again."""
        what = f"upload bytes {first} to {first + len(part) - 1} to {repository}"
        with translated(what):
            try:
                answer = self._client(repository).upload_layer_part(
                    **names(repository),
                    uploadId=session,
                    partFirstByte=first,
                    partLastByte=first + len(part) - 1,
                    layerPartBlob=part,
                )
            except ClientError as error:
                _forgotten(error, what)
                if code_of(error) != "InvalidLayerPartException":
                    raise
                reached: Any = error.response.get("lastValidByteReceived")
                if reached is None:
                    raise UploadExpired(f"{what}: {message_of(error)}") from error
                return int(reached) + 1 if int(reached) > 0 else 0  # 0: nothing was received
        return int(answer["lastByteReceived"]) + 1

    def complete(self, repository: Location, session: str, digest: Digest) -> None:
        what = f"complete the upload of {digest.short} to {repository}"
        with translated(what):
            try:
                self._client(repository).complete_layer_upload(
                    **names(repository), uploadId=session, layerDigests=[str(digest)]
                )
            except ClientError as error:
                _forgotten(error, what)
                if code_of(error) != "LayerAlreadyExistsException":
                    raise


def _forgotten(error: ClientError, what: str) -> None:
    if code_of(error) in ("UploadNotFoundException", "EmptyUploadException", "LayerPartTooSmallException"):
        raise UploadExpired(f"{what}: {message_of(error)}") from error
