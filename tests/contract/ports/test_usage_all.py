"""Every source of usage for retention, with answers in AWS's own shapes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.ecr.remover import EcrRemover
from tallyman.adapters.ecr.replication import EcrReplication
from tallyman.adapters.usage.references import BatchJobs, EcsServices, EveryNeed, InspectorInUse, LambdaVersions
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.policy import UsageRules
from tallyman.errors import BadName, NotAllowed, Unreachable

PLACE = Repository(EcrRegistry("222222222222", "sa-east-1"), "rocketseat/widget-server")
HOST = "222222222222.dkr.ecr.sa-east-1.amazonaws.com/rocketseat/widget-server"
DIGEST = Digest("sha256:" + "a" * 64)
OTHER = Digest("sha256:" + "b" * 64)
NOW = datetime(2026, 11, 16, tzinfo=UTC)


class One:
    """`Clients` with stubbed clients."""

    def __init__(self) -> None:
        self.made: dict[str, tuple[Any, Stubber]] = {}

    def get(self, service: str, registry: EcrRegistry, power: str = "read") -> Any:
        self.stub(service)
        return self.made[service][0]

    def stub(self, service: str) -> Stubber:
        if service not in self.made:
            session = new_session()
            keys: dict[str, Any] = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
            client = session.create_client(service, region_name="sa-east-1", **keys)
            stubber = Stubber(client)
            stubber.activate()
            self.made[service] = (client, stubber)
        return self.made[service][1]


@pytest.fixture
def clients() -> Any:
    return One()


def test_a_published_version_of_a_function_is_a_use(clients: Any) -> None:
    stub = clients.stub("lambda")
    arn = "arn:aws:lambda:sa-east-1:222222222222:function:thumbs"
    functions = [
        {"FunctionName": "thumbs", "FunctionArn": f"{arn}:$LATEST", "Version": "$LATEST", "PackageType": "Image"},
        {"FunctionName": "thumbs", "FunctionArn": f"{arn}:1", "Version": "1", "PackageType": "Image"},
        {"FunctionName": "zip", "FunctionArn": "arn", "Version": "$LATEST", "PackageType": "Zip"},
    ]
    stub.add_response("list_functions", {"Functions": functions}, {"FunctionVersion": "ALL"})
    stub.add_response("get_function", {"Code": {"ResolvedImageUri": f"{HOST}@{DIGEST}"}}, {"FunctionName": "thumbs"})
    stub.add_response(
        "get_function",
        {"Code": {"ResolvedImageUri": f"{HOST}@{OTHER}"}},
        {"FunctionName": "thumbs", "Qualifier": "1"},
    )
    assert [use.digest for use in LambdaVersions(clients).running(PLACE.registry)] == [DIGEST, OTHER]


def test_every_image_of_a_job_definition_is_a_use(clients: Any) -> None:
    container = {"image": f"{HOST}:v1"}
    node = {"targetNodes": "0", "container": {"image": f"{HOST}:v2"}}
    nodes = {"numNodes": 1, "mainNode": 0, "nodeRangeProperties": [node]}
    named = {"jobDefinitionArn": "arn", "type": "container"}
    jobs = [
        {"jobDefinitionName": "a", "revision": 1, **named, "containerProperties": container},
        {"jobDefinitionName": "b", "revision": 2, **named, "nodeProperties": nodes},
    ]
    stub = clients.stub("batch")
    stub.add_response("describe_job_definitions", {"jobDefinitions": jobs}, {"status": "ACTIVE"})
    assert [(u.name, u.tag) for u in BatchJobs(clients).running(PLACE.registry)] == [("a:1", "v1"), ("b:2", "v2")]


def test_inspectors_images_in_use_are_uses_by_digest(clients: Any) -> None:
    covered = {
        "resourceType": "AWS_ECR_CONTAINER_IMAGE",
        "resourceId": f"{PLACE.arn}/{DIGEST}",
        "accountId": "222222222222",
        "scanType": "PACKAGE",
        "resourceMetadata": {"ecrImage": {"inUseCount": 2}},
    }
    clients.stub("inspector2").add_response("list_coverage", {"coveredResources": [covered]})
    (found,) = InspectorInUse(clients).running(PLACE.registry)
    assert (found.repository, found.digest) == (PLACE, DIGEST)


@pytest.mark.parametrize(("status", "refuses"), [("DISABLED", False), ("ENABLED", True), ("SUSPENDED", True)])
def test_without_inspector_nothing_is_in_use_and_a_refusal_stays_an_error(
    clients: Any, status: str, refuses: bool
) -> None:
    stub = clients.stub("inspector2")
    stub.add_client_error("list_coverage", "AccessDeniedException", "no access", http_status_code=403)
    state = {"status": status, "errorCode": "OK", "errorMessage": "-"}
    found = {"accountId": "222222222222", "state": state, "resourceState": {"ec2": state, "ecr": state}}
    answer = {"accounts": [found]}
    stub.add_response("batch_get_account_status", answer, {"accountIds": ["222222222222"]})
    if refuses:
        with pytest.raises(NotAllowed):
            list(InspectorInUse(clients).running(PLACE.registry))
    else:
        assert list(InspectorInUse(clients).running(PLACE.registry)) == []


class Nowhere:
    """`Clients` whose hosts do not exist."""

    def get(self, service: str, registry: EcrRegistry, power: str = "read") -> Any:
        return self

    def list_coverage(self, **request: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://inspector2")


@pytest.mark.parametrize(("region", "has"), [("eusc-de-east-1", False), ("ap-southeast-6", False), ("sa-east-1", True)])
def test_a_region_without_inspector_has_no_uses_and_one_that_does_not_answer_stays_an_error(
    region: str, has: bool
) -> None:
    running = InspectorInUse(Nowhere()).running(EcrRegistry("222222222222", region))  # type: ignore[arg-type]
    if has:
        with pytest.raises(Unreachable):
            list(running)
    else:
        assert list(running) == []


def test_a_failing_source_is_reported_and_the_others_answer(clients: Any) -> None:
    clients.stub("ecs").add_client_error("list_clusters", "AccessDeniedException", "not authorized")
    clients.stub("lambda").add_response("list_functions", {"Functions": []})
    clients.stub("batch").add_response("describe_job_definitions", {"jobDefinitions": []})
    clients.stub("inspector2").add_response("list_coverage", {"coveredResources": []})
    clients.stub("eks").add_response("list_clusters", {"clusters": []})
    readings = {r.source: r for r in EveryNeed(clients).readings(PLACE.registry, NOW, UsageRules())}
    assert "not authorized" in (readings["ECS"].error or "")
    assert [readings[name].error for name in ("Lambda", "Batch", "Inspector", "EKS")] == [None] * 4
    assert readings["Lambda"].regional


def test_failures_of_a_removal_are_reported_except_missing_images(clients: Any) -> None:
    failures = [
        {"imageId": {"imageDigest": DIGEST}, "failureCode": "ImageReferencedByManifestList", "failureReason": "listed"},
        {"imageId": {"imageDigest": OTHER}, "failureCode": "ImageNotFound", "failureReason": "gone"},
    ]
    clients.stub("ecr").add_response("batch_delete_image", {"failures": failures})
    assert EcrRemover(clients).remove(PLACE, [DIGEST, OTHER]) == {
        DIGEST: "an index that was pushed since the plan lists it: it stays (listed (ImageReferencedByManifestList))"
    }


def test_only_rules_with_delete_replication_replicate_a_removal(clients: Any) -> None:
    to = {"region": "us-east-2", "registryId": "222222222222"}
    far = {"region": "us-east-1", "registryId": "222222222222"}
    mine = {"filter": "rocketseat/", "filterType": "PREFIX_MATCH"}
    rules = [
        {"destinations": [to], "repositoryFilters": [mine], "deleteReplication": {"enabled": True}},
        {"destinations": [far], "repositoryFilters": [mine]},
    ]
    clients.stub("ecr").add_response("describe_registry", {"replicationConfiguration": {"rules": rules}})
    assert EcrReplication(clients).removal_reaches(PLACE) == [EcrRegistry("222222222222", "us-east-2")]


# --- incomplete answers, which do not prove that nothing runs

CLUSTER = "arn:aws:ecs:sa-east-1:222222222222:cluster/shop"
TASK = "arn:aws:ecs:sa-east-1:222222222222:task/shop/0123456789abcdef"
SERVICE = "arn:aws:ecs:sa-east-1:222222222222:service/shop/web"


def ecs(clients: Any, tasks: dict[str, Any] | None = None, services: dict[str, Any] | None = None) -> str | None:
    """The reason why ECS can't be read, given this answer."""
    stub = clients.stub("ecs")
    stub.add_response("list_clusters", {"clusterArns": [CLUSTER]})
    stub.add_response("list_tasks", {"taskArns": [TASK]})
    stub.add_response("describe_tasks", tasks if tasks is not None else {"tasks": [], "failures": [MISSING]})
    if services is not None:
        stub.add_response("list_clusters", {"clusterArns": [CLUSTER]})
        stub.add_response("list_services", {"serviceArns": [SERVICE]})
        stub.add_response("describe_services", services)
    return next(r.error for r in EveryNeed(clients).readings(PLACE.registry, NOW, UsageRules()) if r.source == "ECS")


MISSING = {"arn": TASK, "reason": "MISSING"}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "lacks 'tasks'"),
        ({"tasks": []}, "does not name"),
        ({"tasks": [], "failures": [{"arn": TASK, "reason": "ACCESS_DENIED"}]}, "ACCESS_DENIED"),
        ({"tasks": [{"taskArn": TASK}]}, "lacks 'containers'"),
        ({"tasks": [{"taskArn": TASK, "containers": [{"name": "web"}]}]}, "does not say which image"),
    ],
)
def test_undescribed_tasks_are_unknown_not_absent(clients: Any, answer: dict[str, Any], why: str) -> None:
    assert why in (ecs(clients, answer) or "")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "lacks 'services'"),
        ({"services": []}, "does not name"),
        ({"services": [], "failures": [{"arn": SERVICE, "reason": "ODD"}]}, "ODD"),
    ],
)
def test_undescribed_services_are_unknown_not_absent(clients: Any, answer: dict[str, Any], why: str) -> None:
    assert why in (ecs(clients, services=answer) or "")


REVISION = "arn:aws:ecs:sa-east-1:222222222222:service-revision/shop/web/4980306466373577095"
DEFINITION = "arn:aws:ecs:sa-east-1:222222222222:task-definition/web:7"


def scaled_down(clients: Any, revisions: dict[str, Any]) -> EcsServices:
    """A service without tasks, whose definition names a tag, given this answer about its revision."""
    stub = clients.stub("ecs")
    service = {"serviceArn": SERVICE, "desiredCount": 0, "taskDefinition": DEFINITION, "deployments": []}
    service["currentServiceRevisions"] = [{"arn": REVISION, "runningTaskCount": 0}]
    stub.add_response("list_clusters", {"clusterArns": [CLUSTER]})
    stub.add_response("list_tasks", {"taskArns": []})
    stub.add_response("list_clusters", {"clusterArns": [CLUSTER]})
    stub.add_response("list_services", {"serviceArns": [SERVICE]})
    stub.add_response("describe_services", {"services": [service]})
    stub.add_response("describe_service_revisions", revisions, {"serviceRevisionArns": [REVISION]})
    definition = {"containerDefinitions": [{"name": "web", "image": f"{HOST}:latest"}]}
    stub.add_response("describe_task_definition", {"taskDefinition": definition}, {"taskDefinition": DEFINITION})
    return EcsServices(clients)


def test_a_scaled_down_service_needs_the_digest_that_ecs_resolved_its_tag_to(clients: Any) -> None:
    """ECS starts further tasks from that digest, wherever the tag points since."""
    images = [{"containerName": "web", "image": f"{HOST}:latest", "imageDigest": DIGEST}]
    source = scaled_down(clients, {"serviceRevisions": [{"serviceRevisionArn": REVISION, "containerImages": images}]})
    pinned, named = source.running(PLACE.registry)
    assert (pinned.kind, pinned.name) == ("ecs service", "service-revision/shop/web/4980306466373577095")
    assert (pinned.repository, pinned.digest, pinned.runs) == (PLACE, DIGEST, False)
    assert (named.tag, named.digest) == ("latest", None)


@pytest.mark.parametrize(
    "answer",
    [
        {"serviceRevisions": [{"serviceRevisionArn": REVISION}]},
        {"serviceRevisions": [{"serviceRevisionArn": REVISION, "containerImages": [{"image": f"{HOST}:latest"}]}]},
        {"serviceRevisions": [], "failures": [{"arn": REVISION, "reason": "MISSING"}]},
    ],
)
def test_a_service_whose_tag_is_not_resolved_yet_needs_what_the_tag_points_to(
    clients: Any, answer: dict[str, Any]
) -> None:
    (named,) = scaled_down(clients, answer).running(PLACE.registry)
    assert (named.tag, named.digest) == ("latest", None)


@pytest.mark.parametrize("answer", [{}, {"serviceRevisions": []}])
def test_an_undescribed_service_revision_is_unknown_not_absent(clients: Any, answer: dict[str, Any]) -> None:
    with pytest.raises(Unreachable):
        list(scaled_down(clients, answer).running(PLACE.registry))


def test_a_task_and_a_service_that_ended_meanwhile_are_ignored(clients: Any) -> None:
    gone = {"services": [], "failures": [{"arn": SERVICE, "reason": "MISSING"}]}
    assert ecs(clients, services=gone) is None


@pytest.mark.parametrize(
    ("service", "call", "source"),
    [
        ("ecs", "list_clusters", "ECS"),
        ("lambda", "list_functions", "Lambda"),
        ("batch", "describe_job_definitions", "Batch"),
        ("inspector2", "list_coverage", "Inspector"),
        ("eks", "list_clusters", "EKS"),
    ],
)
def test_an_answer_without_its_list_or_with_endless_pages_makes_the_source_unreadable(
    clients: Any, service: str, call: str, source: str
) -> None:
    clients.stub(service).add_response(call, {})
    found = next(r for r in EveryNeed(clients).readings(PLACE.registry, NOW, UsageRules()) if r.source == source)
    assert "lacks" in (found.error or "")
    key = {
        "ECS": "clusterArns",
        "Lambda": "Functions",
        "Batch": "jobDefinitions",
        "Inspector": "coveredResources",
        "EKS": "clusters",
    }
    token = "NextMarker" if service == "lambda" else "nextToken"
    for _ in range(2):
        clients.stub(service).add_response(call, {key[source]: [], token: "same"})
    found = next(r for r in EveryNeed(clients).readings(PLACE.registry, NOW, UsageRules()) if r.source == source)
    assert "same next page twice" in (found.error or "")


def test_a_deleted_function_has_no_use_and_one_without_an_image_uri_is_unknown(clients: Any) -> None:
    stub = clients.stub("lambda")
    function = {"FunctionName": "thumbs", "FunctionArn": "arn", "Version": "$LATEST", "PackageType": "Image"}
    stub.add_response("list_functions", {"Functions": [function]})
    stub.add_client_error("get_function", "ResourceNotFoundException")
    assert list(LambdaVersions(clients).running(PLACE.registry)) == []
    stub.add_response("list_functions", {"Functions": [function]})
    stub.add_response("get_function", {"Code": {"RepositoryType": "ECR"}})
    with pytest.raises(Unreachable, match="which image"):
        list(LambdaVersions(clients).running(PLACE.registry))


def test_inspectors_resources_with_an_unreadable_id_are_unknown(clients: Any) -> None:
    covered = {
        "resourceType": "AWS_ECR_CONTAINER_IMAGE",
        "resourceId": "arn:of:something:new",
        "accountId": "222222222222",
        "scanType": "PACKAGE",
    }
    clients.stub("inspector2").add_response("list_coverage", {"coveredResources": [covered]})
    with pytest.raises(BadName):
        list(InspectorInUse(clients).running(PLACE.registry))


def test_an_image_that_a_removals_answer_omits_was_not_removed(clients: Any) -> None:
    clients.stub("ecr").add_response("batch_delete_image", {"imageIds": [{"imageDigest": DIGEST}]})
    assert set(EcrRemover(clients).remove(PLACE, [DIGEST, OTHER])) == {OTHER}


def test_a_missing_replication_configuration_is_unknown_not_absent(clients: Any) -> None:
    to = {"region": "us-east-2", "registryId": "222222222222"}
    rule = {"destinations": [to], "deleteReplication": {"enabled": True}}
    clients.stub("ecr").add_response("describe_registry", {})
    with pytest.raises(Unreachable, match="lacks 'rules'"):
        EcrReplication(clients).removal_reaches(PLACE)
    odd = {**rule, "repositoryFilters": [{"filter": "elsewhere/", "filterType": "SOMETHING_NEW"}]}
    clients.stub("ecr").add_response("describe_registry", {"replicationConfiguration": {"rules": [odd]}})
    assert EcrReplication(clients).removal_reaches(PLACE) == [EcrRegistry("222222222222", "us-east-2")]
