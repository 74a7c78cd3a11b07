"""ECR's managed signing: read only if a promotion needs it, recorded only if it is news."""

from typing import Any

import pytest
from botocore.stub import Stubber

from support.fakes.gate_cases import APP, policy_of
from support.fakes.ports import FakeClock, FakeLedger, FakeSigning
from support.images.builders import DEV, PROD, pushed
from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.ecr.signing import EcrSigning
from tallyman.domain.history.facts import Kind
from tallyman.domain.images.details import SigningStatus
from tallyman.errors import NotFound, Throttled
from tallyman.services.deciding.read_signing import ReadSigning

PROFILE = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/release"


def reading(gates: dict[str, Any], view: FakeSigning) -> tuple[ReadSigning, FakeLedger]:
    clock, ledger = FakeClock(), FakeLedger()
    ledger.append(pushed(APP))
    return ReadSigning(policy_of(gates), view, ledger, clock), ledger


def recorded_statuses(ledger: FakeLedger) -> list[Any]:
    return [[s["status"] for s in f.detail["statuses"]] for f in ledger.facts if f.kind is Kind.SIGNING]


def test_every_change_is_written_once() -> None:
    view = FakeSigning()
    service, ledger = reading({"signed": True}, view)
    assert not service.refresh(APP)
    for status in ("in_progress", "in_progress", "complete", "complete"):
        view.statuses[DEV, APP] = [SigningStatus(PROFILE, status)]
        service.refresh(APP)
    view.statuses.clear()
    assert service.refresh(APP)
    assert recorded_statuses(ledger) == [["in_progress"], ["complete"], []]


def test_a_registry_without_an_answer_changes_nothing() -> None:
    service, ledger = reading({"signed": True}, FakeSigning(silent=True))
    assert not service.refresh(APP)
    assert recorded_statuses(ledger) == []


def test_nothing_is_read_if_no_promotion_needs_a_signature_or_the_image_is_missing() -> None:
    view = FakeSigning({(DEV, APP): [SigningStatus(PROFILE, "complete")], (PROD, APP): []})
    assert not reading({"verified": True}, view)[0].refresh(APP)
    service, _ = reading({"signed": True}, view)
    assert not service.refresh(PROFILE)  # type: ignore[arg-type]  # a digest without facts


@pytest.fixture
def ecr() -> Any:
    return new_session().create_client("ecr", region_name="us-east-2", aws_access_key_id="x", aws_secret_access_key="x")


class One:
    """Clients that always return one client."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get(self, *_: object) -> Any:
        return self.client


ASKED = {"registryId": "111111111111", "repositoryName": DEV.name, "imageId": {"imageDigest": APP}}


def test_the_answer_is_read_with_its_reasons(ecr: Any) -> None:
    statuses = [
        {"signingProfileArn": PROFILE, "status": "COMPLETE"},
        {"signingProfileArn": "b", "status": "FAILED", "failureCode": "DENIED", "failureReason": "no key"},
    ]
    with Stubber(ecr) as stub:
        stub.add_response("describe_image_signing_status", {"signingStatuses": statuses}, ASKED)
        found = EcrSigning(One(ecr)).signing(DEV, APP)  # type: ignore[arg-type]
    assert found == [SigningStatus(PROFILE, "complete"), SigningStatus("b", "failed", "DENIED: no key")]


@pytest.mark.parametrize("code", ["AccessDeniedException", "UnknownOperationException", "ValidationException"])
def test_a_refusing_registry_gives_no_status(ecr: Any, code: str) -> None:
    with Stubber(ecr) as stub:
        stub.add_client_error("describe_image_signing_status", code, "no", 400)
        assert EcrSigning(One(ecr)).signing(DEV, APP) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("code", "kind"), [("ImageNotFoundException", NotFound), ("ThrottlingException", Throttled)])
def test_missing_images_and_transient_failures_are_errors(ecr: Any, code: str, kind: type[Exception]) -> None:
    with Stubber(ecr) as stub:
        stub.add_client_error("describe_image_signing_status", code, "no", 400)
        with pytest.raises(kind):
            EcrSigning(One(ecr)).signing(DEV, APP)  # type: ignore[arg-type]
