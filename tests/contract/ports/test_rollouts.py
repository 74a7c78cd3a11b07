"""Updates of ECS services and Lambda functions, with requests and answers in AWS's own shapes."""

from typing import Any

import pytest
from botocore.stub import Stubber

from tallyman.adapters.aws.rollouts import EcsRollOuts, LambdaRollOuts
from tallyman.adapters.aws.sessions import new_session
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Runs, Service
from tallyman.errors import BadInput

PROD = EcrRegistry("222222222222", "sa-east-1")
SERVICE = Service(Runs.ECS, "shop/app", "rocketseat/app")
FUNCTION = Service(Runs.LAMBDA, "app", "rocketseat/app", alias="live")
OLD, NEW = (f"arn:aws:ecs:sa-east-1:222222222222:task-definition/app:{n}" for n in (1, 2))
TAGS = [{"key": "team", "value": "shop"}]
RESERVED = {"key": "aws:servicecatalog:productArn", "value": "arn:aws:catalog:…"}
"""A tag that only AWS sets; RegisterTaskDefinition refuses it."""
PERCENTAGES = {"maximumPercent": 150, "minimumHealthyPercent": 80}
ALARMS = {"alarms": {"alarmNames": ["errors"], "enable": True, "rollback": True}}
OFF = {"deploymentCircuitBreaker": {"enable": False, "rollback": False}}
ON = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}


class Clients:
    """Clients with one stubbed client of a service."""

    def __init__(self, service: str = "ecs") -> None:
        keys: dict[str, Any] = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self.service = service
        self.client: Any = new_session().create_client(service, region_name="sa-east-1", **keys)
        self.stub = Stubber(self.client)
        self.stub.activate()

    def get(self, service: str, registry: EcrRegistry, power: str) -> Any:
        assert (service, registry, power) == (self.service, PROD, "roll-out")
        return self.client

    def runs(self, **service: Any) -> None:
        """Make DescribeServices return the service."""
        found = {"serviceName": "app", "status": "ACTIVE", "taskDefinition": OLD, **service}
        self.stub.add_response("describe_services", {"services": [found]}, {"cluster": "shop", "services": ["app"]})

    def registers(self) -> None:
        definition = {"family": "app", "containerDefinitions": [{"name": "app", "image": "old"}]}
        asked = {"taskDefinition": OLD, "include": ["TAGS"]}
        answer = {"taskDefinition": definition, "tags": [*TAGS, RESERVED]}
        self.stub.add_response("describe_task_definition", answer, asked)
        wanted = {"family": "app", "containerDefinitions": [{"name": "app", "image": "new"}], "tags": TAGS}
        self.stub.add_response("register_task_definition", {"taskDefinition": {"taskDefinitionArn": NEW}}, wanted)


@pytest.fixture
def ecs() -> Clients:
    return Clients()


@pytest.mark.parametrize(
    ("configuration", "sent"),
    [
        ({**PERCENTAGES, **ALARMS, **ON}, None),
        ({**PERCENTAGES, **ALARMS, **OFF}, {**PERCENTAGES, **ALARMS, **ON}),
        ({**PERCENTAGES, "strategy": "ROLLING"}, {**PERCENTAGES, "strategy": "ROLLING", **ON}),
    ],
    ids=["on already", "off", "never set"],
)
def test_an_update_changes_the_revision_and_the_breaker_and_resets_nothing(
    ecs: Clients, configuration: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    ecs.runs(deploymentConfiguration=configuration)
    ecs.registers()
    ecs.runs(deploymentConfiguration=configuration)
    wanted = {"cluster": "shop", "service": "app", "taskDefinition": NEW}
    if sent is not None:
        wanted["deploymentConfiguration"] = sent  # type: ignore[assignment]
    ecs.stub.add_response("update_service", {"service": {}}, wanted)
    assert EcsRollOuts(ecs).move(PROD, SERVICE, "new") == NEW  # type: ignore[arg-type]
    ecs.stub.assert_no_pending_responses()


def example(shape: Any) -> Any:
    """A value of a shape of botocore's model; of a structure without required members, its first one."""
    if shape.type_name == "structure":
        names = shape.required_members or list(shape.members)[:1]
        return {name: example(shape.members[name]) for name in names}
    if shape.type_name == "list":
        return [example(shape.member)]
    return {"string": (getattr(shape, "enum", []) or ["x"])[0], "boolean": True, "integer": 21}[shape.type_name]


def test_a_revision_keeps_every_setting_that_can_be_registered(ecs: Clients) -> None:
    model = ecs.client.meta.service_model
    accepted = model.operation_model("RegisterTaskDefinition").input_shape.members
    shown = model.shape_for("TaskDefinition").members
    kept = {name: example(shape) for name, shape in shown.items() if name in accepted}
    assert {"trustedExecutionConfiguration", "runtimePlatform", "pidMode"} <= kept.keys()
    old, new = ({**kept, "containerDefinitions": [{"name": "app", "image": image}]} for image in ("old", "new"))
    ecs.runs()
    asked = {"taskDefinition": OLD, "include": ["TAGS"]}
    answer = {"taskDefinition": {**old, "revision": 1, "status": "ACTIVE", "taskDefinitionArn": OLD}}
    ecs.stub.add_response("describe_task_definition", answer, asked)
    ecs.stub.add_response("register_task_definition", {"taskDefinition": {"taskDefinitionArn": NEW}}, new)
    ecs.runs(deploymentConfiguration=ON)
    update = {"cluster": "shop", "service": "app", "taskDefinition": NEW}
    ecs.stub.add_response("update_service", {"service": {}}, update)
    assert EcsRollOuts(ecs).move(PROD, SERVICE, "new") == NEW  # type: ignore[arg-type]
    ecs.stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("service", "word"),
    [
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, "CODE_DEPLOY"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "EXTERNAL"),
        ({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, "BLUE_GREEN"),
        ({"deploymentConfiguration": {"strategy": "LINEAR"}}, "LINEAR"),
        ({"deploymentConfiguration": {"strategy": "CANARY"}}, "CANARY"),
    ],
)
def test_a_service_without_rolling_updates_is_refused_before_any_change(
    ecs: Clients, service: dict[str, Any], word: str
) -> None:
    for act in ("current", "move", "back"):
        ecs.runs(**service)
        arguments = () if act == "current" else ("new",)
        with pytest.raises(BadInput, match=f"{SERVICE} in {PROD} can't be moved by a release.*{word}"):
            getattr(EcsRollOuts(ecs), act)(PROD, SERVICE, *arguments)  # type: ignore[arg-type]
        ecs.stub.assert_no_pending_responses()


def test_the_description_of_a_version_fits_also_with_the_longest_name_of_a_repository() -> None:
    functions = Clients("lambda")
    image = f"222222222222.dkr.ecr.sa-east-1.amazonaws.com/{'a' * 256}@sha256:{'0' * 64}"
    runs = {"Configuration": {"LastUpdateStatus": "Successful"}, "Code": {"ImageUri": image}}
    functions.stub.add_response("get_function", runs, {"FunctionName": "app"})
    published = {"FunctionName": "app", "Description": image[-256:]}
    functions.stub.add_response("publish_version", {"Version": "7"}, published)
    functions.stub.add_response("get_alias", {"FunctionVersion": "7"}, {"FunctionName": "app", "Name": "live"})
    assert LambdaRollOuts(functions).settled(PROD, FUNCTION, image).done  # type: ignore[arg-type]
    accepted = functions.client.meta.service_model.operation_model("PublishVersion").input_shape.members
    assert len(published["Description"]) <= accepted["Description"].metadata["max"]
