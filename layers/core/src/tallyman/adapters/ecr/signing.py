"""Read the status of ECR's managed signing through its API."""

from tallyman.adapters.ecr.calls import EcrAdapter, names
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.details import SigningStatus
from tallyman.domain.names import Digest, Repository
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, NotFound, Refused


class EcrSigning(EcrAdapter):
    """`SigningView`, with the role that reads."""

    PERMISSIONS: tuple[str, ...] = permissions("ecr:DescribeImageSigningStatus")

    def signing(self, repository: Repository, digest: Digest) -> list[SigningStatus] | None:
        """The status of each profile; None where the registry does not know the call, does not sign, or denies the
        call: then only signatures that exist count. One DescribeImageSigningStatus. Raises NotFound where there is no
        image."""
        client = self._client(repository)
        try:
            with translated(f"read the signing status of {repository}@{digest}"):
                answer = client.describe_image_signing_status(**names(repository), imageId={"imageDigest": digest})
        except NotFound:
            raise
        except (Refused, BadInput):
            return None
        if answer.get("signingStatuses") is None:
            return None
        return [
            SigningStatus(
                profile=str(found.get("signingProfileArn", "")),
                status=str(found.get("status", "")).lower(),
                reason=": ".join(t for t in (found.get("failureCode"), found.get("failureReason")) if t) or None,
            )
            for found in answer["signingStatuses"]
        ]
