"""Deploy the stacks into moto's CloudFormation, and read from them what moto does not run: functions, event source
mappings and resource policies."""

import json
import logging
import warnings
from collections.abc import Iterable
from collections.abc import Mapping as TypeMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moto.cloudformation.models import cloudformation_backends
from moto.cloudformation.parsing import ResourceMap, get_model_map
from moto.events.models import events_backends
from moto.iam.models import iam_backends
from moto.sqs.models import sqs_backends

from tallyman.domain.names import EcrRegistry
from tallyman_local.moto import calls as moto_calls
from tallyman_local.moto.cloudformation import clean_json
from tallyman_local.stack.template import BadTemplate, Json, Translated, load, translate

log = logging.getLogger("tallyman.local")

HUB = EcrRegistry("111111111111", "us-east-2")
TemplateParameters = TypeMapping[str, str]
_FOR_SPOKES = ("RollOut", "People", "SigningProfile")  # the spokes' stacks get the parameters with these prefixes too


@dataclass(frozen=True, slots=True)
class Function:
    """A deployed function. `folders`: its module path, in order. `timeout`: seconds. `memory`: MB."""

    logical_id: str
    name: str
    arn: str
    handler: str
    environment: dict[str, str]
    timeout: int
    memory: int
    role: str
    folders: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Mapping:
    """An event source mapping: a queue that invokes a function.

    `concurrency`: MaximumConcurrency, or 1 without it. `partial`: whether the function reports failed messages.
    """

    queue_arn: str
    function: str
    batch_size: int
    concurrency: int
    partial: bool


@dataclass
class Stack:
    """One deployed stack.

    `skipped`: the resources that moto lacks, as type by logical id. `functions`: by logical id.
    """

    registry: EcrRegistry
    name: str
    outputs: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Function] = field(default_factory=dict)
    mappings: list[Mapping] = field(default_factory=list)


def deploy(
    root: Path, stack: str, registries: Iterable[EcrRegistry], parameters: TemplateParameters, *, built: bool
) -> list[Stack]:
    """Deploy the hub's stack, then a spoke's in each of the other registries. Raises BadTemplate."""
    spokes = [registry for registry in dict.fromkeys(registries) if registry != HUB]
    accounts = sorted({registry.account for registry in spokes} - {HUB.account})
    own = {"SpokeAccounts": ",".join(accounts), "DeletionProtection": "false", **parameters}
    stacks = [deploy_hub(root, stack, parameters=own, built=built)]
    everywhere = {name: value for name, value in parameters.items() if name.startswith(_FOR_SPOKES)}
    for registry in spokes:
        values = {
            "HubAccount": HUB.account,
            "HubRegion": HUB.region,
            "HubStack": stack,
            "HubBusArn": stacks[0].outputs.get("BusArn", ""),
            "CanPush": "true",
            "CanRemove": "true",
            "PeopleRoles": f"arn:aws:iam::{HUB.account}:role/*",
            "PeopleChangeRoles": f"arn:aws:iam::{HUB.account}:role/*",
            "CreateRoles": str(all(done.registry.account != registry.account for done in stacks[1:])).lower(),
            **everywhere,
        }
        name = stack if registry.account != HUB.account else f"{stack}-spoke"
        stacks.append(deploy_spoke(root, name, registry, values))
    return stacks


def deploy_hub(root: Path, stack: str, *, parameters: TemplateParameters | None = None, built: bool = False) -> Stack:
    """Deploy the checkout's `template.yaml` in the hub as stack `stack`. Raises BadTemplate.

    With `built`, functions and layers run from `.aws-sam/build`, the output of `sam build`.
    """
    deployed, translated, resources = _create(HUB, stack, root / "template.yaml", parameters or {})
    folders = _built_folders(root, translated) if built else _source_folders(root, translated)
    for logical_id in translated.code:
        deployed.functions[logical_id] = _function(logical_id, translated.template, resources, folders[logical_id])
    for name, mapping in translated.mappings.items():
        deployed.mappings.append(_mapping(name, clean_json(mapping["Properties"], resources), deployed.functions))
    return deployed


def deploy_spoke(root: Path, stack: str, registry: EcrRegistry, parameters: TemplateParameters) -> Stack:
    """Deploy the checkout's `spoke.yaml` in another account or region. Raises BadTemplate."""
    return _create(registry, stack, root / "spoke.yaml", parameters)[0]


def _create(
    registry: EcrRegistry, name: str, path: Path, parameters: TemplateParameters
) -> tuple[Stack, Translated, ResourceMap]:
    """Create a stack with those of the parameters that its template declares."""
    document = load(path)
    declared = document.get("Parameters", {})
    known = {parameter: value for parameter, value in parameters.items() if parameter in declared}
    translated = translate(document, region=registry.region, parameters=known)
    skipped = {
        logical_id: resource["Type"]
        for logical_id, resource in translated.template["Resources"].items()
        if resource["Type"] not in get_model_map()
    }
    with moto_calls.LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # moto warns of each skipped resource; `skipped` lists them
        quiet = logging.getLogger("moto")
        level = quiet.level
        quiet.setLevel(logging.ERROR)
        try:
            backend = cloudformation_backends[registry.account][registry.region]
            created = backend.create_stack(
                name=name,
                template=json.dumps(translated.template),
                parameters=known,
                notification_arns=[],
                tags={},
                role_arn=None,
            )
        finally:
            quiet.setLevel(level)
        if created.status != "CREATE_COMPLETE":
            raise BadTemplate(f"stack {name} in {registry}: {created.status}")
        resources = created.resource_map
        _attach_policies(registry, translated.template, resources)
        for logical_id, resource in translated.policies.items():
            if _wanted(resource, resources):
                applied = _apply_policy(resource["Type"], clean_json(resource["Properties"], resources), registry)
                if applied:
                    skipped.pop(logical_id, None)
        outputs = {output["OutputKey"]: str(output["OutputValue"]) for output in created.outputs or []}
    if skipped:
        log.info("%s in %s: moto has no %s", name, registry, ", ".join(sorted(set(skipped.values()))))
    return Stack(registry, name, outputs, skipped), translated, resources


def _attach_policies(registry: EcrRegistry, template: Json, resources: ResourceMap) -> None:
    """Attach the managed policies of the roles' ManagedPolicyArns, which moto's CloudFormation ignores."""
    iam = iam_backends[registry.account][moto_calls.PARTITION]
    for resource in template["Resources"].values():
        if resource["Type"] != "AWS::IAM::Role" or not _wanted(resource, resources):
            continue
        properties = clean_json(resource["Properties"], resources)
        for arn in properties.get("ManagedPolicyArns", []):
            iam.attach_role_policy(str(arn), properties["RoleName"])


def _wanted(resource: Json, resources: ResourceMap) -> bool:
    return not resource.get("Condition") or bool(resources.lazy_condition_map[resource["Condition"]])


def _apply_policy(kind: str, properties: Json, registry: EcrRegistry) -> bool:
    """Apply the resource policy of queues or of a bus, which moto's CloudFormation ignores; False for other types."""
    if kind == "AWS::SQS::QueuePolicy":
        queues = sqs_backends[registry.account][registry.region]
        for url in properties["Queues"]:
            queues.get_queue(url.rsplit("/", 1)[-1]).policy = json.dumps(properties["PolicyDocument"])
        return True
    if kind == "AWS::Events::EventBusPolicy":
        bus = events_backends[registry.account][registry.region]._get_event_bus(
            properties.get("EventBusName", "default")
        )
        statement = properties.get("Statement") or {
            "Effect": "Allow",
            "Principal": {"AWS": properties["Principal"]},
            "Action": properties["Action"],
            "Resource": bus.arn,
        }
        bus.add_policy({"Statement": [{**statement, "Sid": properties["StatementId"]}]})
        return True
    return False


def _source_folders(root: Path, translated: Translated) -> dict[str, tuple[Path, ...]]:
    layers = tuple((root / folder).resolve() for folder in translated.layers.values())
    return {name: ((root / folder).resolve(), *layers) for name, folder in translated.code.items()}


def _built_folders(root: Path, translated: Translated) -> dict[str, tuple[Path, ...]]:
    build = root / ".aws-sam" / "build"
    layers = tuple(build / name / "python" for name in translated.layers)
    if missing := [name for name in translated.code if not (build / name).is_dir()]:
        raise BadTemplate(f"{build}: no {', '.join(missing)}: run `make build` first")
    return {name: (build / name, *layers) for name in translated.code}


def _function(logical_id: str, template: Json, resources: ResourceMap, folders: tuple[Path, ...]) -> Function:
    properties = clean_json(template["Resources"][logical_id]["Properties"], resources)
    environment = properties.get("Environment", {}).get("Variables", {})
    deployed = resources[logical_id]
    return Function(
        logical_id=logical_id,
        name=deployed.function_name,
        arn=deployed.get_cfn_attribute("Arn"),
        handler=properties["Handler"],
        environment={name: _text(value) for name, value in environment.items()},
        timeout=int(properties.get("Timeout", 3)),
        memory=int(properties.get("MemorySize", 128)),
        role=properties["Role"],
        folders=folders,
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(name: str, properties: Json, functions: dict[str, Function]) -> Mapping:
    target = str(properties["FunctionName"]).split(":function:")[-1]
    function = next((f for f in functions.values() if f.name == target), None)
    if function is None:
        raise BadTemplate(f"{name}: maps to {target}, which is not a function of this template")
    scaling = properties.get("ScalingConfig") or {}
    return Mapping(
        queue_arn=properties["EventSourceArn"],
        function=function.logical_id,
        batch_size=int(properties.get("BatchSize", 10)),
        concurrency=int(scaling.get("MaximumConcurrency", 1)),
        partial="ReportBatchItemFailures" in properties.get("FunctionResponseTypes", []),
    )
