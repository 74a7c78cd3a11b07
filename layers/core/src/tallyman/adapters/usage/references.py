"""Everything that could need an image, for retention: what runs, and what is set up to run. One class a source.

Wider than `usage.py`, which tells what runs now: a service that is scaled to nothing, a published version of a function
or a job definition runs nothing, but pulls its image the moment that somebody uses it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.usage.running import EcsUsage, use
from tallyman.domain.names import Digest, Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.retention.known import Reading
from tallyman.domain.usage import Use
from tallyman.errors import BadName, TallymanError


class Source(Protocol):
    """One source of usage. `regional`: it can only pull from registries of its own region."""

    name: str
    regional: bool

    def running(self, registry: Registry) -> Iterator[Use]: ...


class EcsServices:
    """Running tasks, and the task definitions that services use: they start what these name, when they please."""

    PERMISSIONS: tuple[str, ...] = (
        *EcsUsage.PERMISSIONS,
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:ListServices",
    )
    name, regional = "ECS", False

    def __init__(self, clients: Clients) -> None:
        self._clients, self._tasks = clients, EcsUsage(clients)

    def running(self, registry: Registry) -> Iterator[Use]:
        """As EcsUsage; and ListServices a cluster, DescribeServices for ten, DescribeTaskDefinition for each used."""
        yield from self._tasks.running(registry)
        client = self._clients.get("ecs", registry)
        used: dict[str, str] = {}
        for cluster in _pages(client, registry, "list_clusters", "clusterArns"):
            services = list(_pages(client, registry, "list_services", "serviceArns", cluster=cluster))
            for start in range(0, len(services), 10):
                with translated(f"describe the services of {cluster}"):
                    answer = client.describe_services(cluster=cluster, services=services[start : start + 10])
                for service in answer.get("services", []):
                    revisions = [service, *service.get("deployments", []), *service.get("taskSets", [])]
                    for definition in (r.get("taskDefinition") for r in revisions):
                        if definition:
                            used.setdefault(definition, service["serviceArn"])
        for definition, service in used.items():
            with translated(f"read the task definition {definition}"):
                found = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
            for container in found.get("containerDefinitions", []):
                name = f"{service.rpartition(':')[2]} ({definition.rpartition('/')[2]})"
                yield use("ecs service", name, container.get("image", ""), registry)


class LambdaVersions:
    """Functions made of an image, and their published versions: aliases point at these. Lambda pulls only from
    registries of its own region (user guide, "Create a Lambda function using a container image")."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:GetFunction", "lambda:ListFunctions")
    name, regional = "Lambda", True

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: Registry) -> Iterator[Use]:
        """ListFunctions with all versions, and GetFunction for each that is an image."""
        client = self._clients.get("lambda", registry)
        for function in _pages(
            client, registry, "list_functions", "Functions", ("NextMarker", "Marker"), FunctionVersion="ALL"
        ):
            if function.get("PackageType") != "Image":
                continue
            request = {"FunctionName": function["FunctionName"]}
            if function.get("Version", "$LATEST") != "$LATEST":
                request["Qualifier"] = function["Version"]
            with translated(f"read the function {function['FunctionArn']}"):
                code = client.get_function(**request).get("Code", {})
            for image in dict.fromkeys((code.get("ResolvedImageUri"), code.get("ImageUri"))):
                if image:
                    yield use("lambda function", function["FunctionArn"], image, registry)


class BatchJobs:
    """Images that active job definitions of AWS Batch name."""

    PERMISSIONS: tuple[str, ...] = permissions("batch:DescribeJobDefinitions")
    name, regional = "Batch", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: Registry) -> Iterator[Use]:
        """DescribeJobDefinitions, a hundred a call."""
        client = self._clients.get("batch", registry)
        for job in _pages(client, registry, "describe_job_definitions", "jobDefinitions", status="ACTIVE"):
            name = f"{job.get('jobDefinitionName', '')}:{job.get('revision', '')}"
            for image in dict.fromkeys(_images(job)):
                yield use("batch job definition", name, image, registry)


class InspectorInUse:
    """Images that Inspector sees in use on EKS and ECS: by digest, from ListCoverage."""

    PERMISSIONS: tuple[str, ...] = permissions("inspector2:ListCoverage")
    name, regional = "Inspector", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: Registry) -> Iterator[Use]:
        """ListCoverage of images with a use count from one on, two hundred a call."""
        client = self._clients.get("inspector2", registry)
        wanted = {
            "resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}],
            "ecrImageInUseCount": [{"lowerInclusive": 1}],
        }
        for found in _pages(client, registry, "list_coverage", "coveredResources", filterCriteria=wanted):
            image = found.get("resourceMetadata", {}).get("ecrImage", {})
            if image.get("inUseCount", 1):
                yield _covered(str(found.get("resourceId", "")), image.get("lastInUseAt"), registry)


SOURCES = (EcsServices, LambdaVersions, BatchJobs, InspectorInUse)


class EveryNeed:
    """`UsageReadings`: every source by itself, so that the answer says which of them could not be read, and why."""

    PERMISSIONS: tuple[str, ...] = tuple(sorted({action for source in SOURCES for action in source.PERMISSIONS}))

    def __init__(self, clients: Clients) -> None:
        self._sources: list[Source] = [source(clients) for source in SOURCES]

    def readings(self, registry: Registry, at: datetime) -> list[Reading]:
        """One a source. Never raises TallymanError: what went wrong is in the reading."""
        found = []
        for source in self._sources:
            try:
                uses = tuple(source.running(registry))
                found.append(Reading(source.name, registry, at, uses, regional=source.regional))
            except TallymanError as error:
                found.append(Reading(source.name, registry, at, error=str(error), regional=source.regional))
        return found


def _images(value: Any) -> Iterator[str]:
    """Every `image` of a job definition, in containers, nodes, ECS tasks or EKS pods."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "image" and isinstance(inner, str) and inner:
                yield inner
            else:
                yield from _images(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _images(inner)


def _covered(arn: str, since: datetime | None, registry: Registry) -> Use:
    """From `arn:aws:ecr:<region>:<account>:repository/<name>/sha256:…`."""
    head, _, digest = arn.rpartition("/")
    try:
        return Use("workload", arn, arn, registry, Repository.parse(head), None, Digest.parse(digest), since)
    except BadName:
        return Use("workload", arn, arn, registry)


def _pages(
    client: Any,
    registry: Registry,
    method: str,
    key: str,
    tokens: tuple[str, str] = ("nextToken", "nextToken"),
    **more: Any,
) -> Iterator[Any]:
    while True:
        with translated(f"{method} in {registry}"):
            answer = getattr(client, method)(**more)
        yield from answer.get(key, [])
        if not answer.get(tokens[0]):
            return
        more[tokens[1]] = answer[tokens[0]]
