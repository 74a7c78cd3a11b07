"""AWS Signer's revocations: the request by AWS's own model, and its region."""

from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from support.images.notary import JOB, VERSION
from support.images.signing import NOW
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.signer import SignerRevocations
from tallyman.domain.names import EcrRegistry
from tallyman.errors import NotAllowed
from tallyman.ports.signatures import SignerJob

ASKED = SignerJob(VERSION.replace("us-east-2", "eu-west-1"), JOB, NOW, ["ab", "cd"])


class OneClient(Clients):
    """Signer in the requested region, of the hub's own account."""

    def __init__(self) -> None:
        super().__init__(EcrRegistry("111111111111", "us-east-2"), "tallyman", "cli")
        self.client = boto3.client("signer", "eu-west-1", aws_access_key_id="a", aws_secret_access_key="b")

    def get(self, service: str, registry: EcrRegistry | None = None, power: Any = "read") -> Any:
        assert (service, registry) == ("signer", EcrRegistry("111111111111", "eu-west-1"))
        return self.client


@pytest.mark.parametrize("revoked", [[], [JOB, "abcd"]])
def test_signer_is_asked_in_the_region_of_the_profile(revoked: list[str]) -> None:
    clients = OneClient()
    with Stubber(clients.client) as stub:
        wanted = {
            "signatureTimestamp": NOW,
            "platformId": "Notation-OCI-SHA384-ECDSA",
            "profileVersionArn": ASKED.profile,
            "jobArn": JOB,
            "certificateHashes": ["ab", "cd"],
        }
        stub.add_response("get_revocation_status", {"revokedEntities": revoked}, wanted)
        assert SignerRevocations(clients).revoked(ASKED) == revoked


def test_a_refusal_gives_no_revocation_status() -> None:
    clients = OneClient()
    with Stubber(clients.client) as stub:
        stub.add_client_error("get_revocation_status", "AccessDeniedException", http_status_code=403)
        with pytest.raises(NotAllowed, match=r"ask whether .* was revoked"):
            SignerRevocations(clients).revoked(ASKED)
