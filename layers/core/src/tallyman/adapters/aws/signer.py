"""AWS Signer: whether a signature, its profile or its certificates were revoked."""

from collections.abc import Sequence

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import EcrRegistry
from tallyman.domain.permissions import permissions
from tallyman.ports.signatures import SignerJob

_PLATFORM = "Notation-OCI-SHA384-ECDSA"


class SignerRevocations:
    """Asks in the region of the profile, with the process's own role."""

    PERMISSIONS: tuple[str, ...] = permissions("signer:GetRevocationStatus")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def revoked(self, job: SignerJob) -> Sequence[str]:
        """The ARNs and hashes that are revoked, of the job, its profile and its certificates. Raises TallymanError."""
        client = self._clients.get("signer", EcrRegistry(self._clients.hub.account, job.profile.split(":")[3]))
        with translated(f"ask whether {job.job} was revoked"):
            answer = client.get_revocation_status(
                signatureTimestamp=job.at,
                platformId=_PLATFORM,
                profileVersionArn=job.profile,
                jobArn=job.job,
                certificateHashes=list(job.certificates),
            )
        return [str(entity) for entity in answer.get("revokedEntities", ())]
