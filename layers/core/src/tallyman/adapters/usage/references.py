"""Everything that could need an image, for retention: what runs, and what is set up to run. One class a source.

Wider than `usage.py`, which reports what runs now: a service that is scaled to nothing, a published version of a
function or a job definition runs nothing, but pulls its image the moment that somebody uses it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import items, listed
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.usage.absent import absent
from tallyman.adapters.usage.eks import EksClusters
from tallyman.adapters.usage.running import EcsUsage, described, functions, images_of_function, use
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.policy import UsageRules
from tallyman.domain.retention.inputs import Reading
from tallyman.domain.usage import Use
from tallyman.errors import NotAllowed, TallymanError, Unreachable


class Source(Protocol):
    """One source of usage. `regional`: it can only pull from registries of its own region."""

    name: str
    regional: bool

    def running(self, registry: EcrRegistry) -> Iterator[Use]: ...


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

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """As EcsUsage; and ListServices a cluster, DescribeServices for ten, DescribeTaskDefinition for each used."""
        yield from self._tasks.running(registry)
        client = self._clients.get("ecs", registry)
        used: dict[str, str] = {}
        for cluster in items(client.list_clusters, {}, "clusterArns", f"list the clusters of {registry}"):
            what = f"list the services of {cluster}"
            services = list(items(client.list_services, {"cluster": cluster}, "serviceArns", what))
            for start in range(0, len(services), 10):
                what, asked = f"describe the services of {cluster}", services[start : start + 10]
                with translated(what):
                    answer = client.describe_services(cluster=cluster, services=asked)
                for service in described(answer, "services", "serviceArn", asked, what):
                    revisions = [service, *(service.get("deployments") or []), *(service.get("taskSets") or [])]
                    for definition in (r.get("taskDefinition") for r in revisions):
                        if definition:
                            used.setdefault(definition, service["serviceArn"])
        for definition, service in used.items():
            what = f"read the task definition {definition}"
            with translated(what):
                found = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
            for container in listed(found, "containerDefinitions", what):
                name = f"{service.rpartition(':')[2]} ({definition.rpartition('/')[2]})"
                yield use("ecs service", name, container.get("image", ""), registry)


class LambdaVersions:
    """Functions made of an image, and their published versions: aliases point at these. Lambda pulls only from
    registries of its own region (user guide, "Create a Lambda function using a container image")."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:GetFunction", "lambda:ListFunctions")
    name, regional = "Lambda", True

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """ListFunctions with all versions, and GetFunction for each that is an image."""
        client = self._clients.get("lambda", registry)
        for function in functions(client, registry, FunctionVersion="ALL"):
            request = {"FunctionName": function["FunctionName"]}
            if function.get("Version", "$LATEST") != "$LATEST":
                request["Qualifier"] = function["Version"]
            for image in images_of_function(client, request):
                yield use("lambda function", function["FunctionArn"], image, registry)


class BatchJobs:
    """Images that active job definitions of AWS Batch name."""

    PERMISSIONS: tuple[str, ...] = permissions("batch:DescribeJobDefinitions")
    name, regional = "Batch", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """DescribeJobDefinitions, a hundred a call."""
        client = self._clients.get("batch", registry)
        what = f"describe the job definitions of {registry}"
        for job in items(client.describe_job_definitions, {"status": "ACTIVE"}, "jobDefinitions", what):
            name = f"{job.get('jobDefinitionName', '')}:{job.get('revision', '')}"
            for image in dict.fromkeys(_images(job)):
                yield use("batch job definition", name, image, registry)


class InspectorInUse:
    """Images that Inspector sees in use on EKS and ECS: by digest, from ListCoverage."""

    PERMISSIONS: tuple[str, ...] = permissions("inspector2:BatchGetAccountStatus", "inspector2:ListCoverage")
    name, regional = "Inspector", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """ListCoverage of images with a use count from one on, two hundred a call. Where Inspector refuses, one
        BatchGetAccountStatus: where it is off it sees nothing, and that is no failure. Nor is that nobody answers in a
        region that has no Inspector."""
        client = self._clients.get("inspector2", registry)
        wanted = {
            "resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}],
            "ecrImageInUseCount": [{"lowerInclusive": 1}],
        }
        what = f"list what Inspector covers in {registry}"
        try:
            covered = list(items(client.list_coverage, {"filterCriteria": wanted}, "coveredResources", what))
        except NotAllowed:
            with translated(f"ask whether Inspector is on in {registry}"):
                answer = client.batch_get_account_status(accountIds=[registry.account])
            if [a["state"]["status"] for a in answer.get("accounts", [])] != ["DISABLED"]:
                raise
            return
        except Unreachable as error:
            if not absent("inspector2", registry.region, error):
                raise
            return
        for found in covered:
            image = (found.get("resourceMetadata") or {}).get("ecrImage") or {}
            if image.get("inUseCount", 1):
                yield _covered(str(found.get("resourceId", "")), image.get("lastInUseAt"), registry)


SOURCES = (EcsServices, LambdaVersions, BatchJobs, InspectorInUse)


class EveryNeed:
    """`UsageReadings`: every source by itself, so that the answer says which of them could not be read, and why."""

    PERMISSIONS: tuple[str, ...] = tuple(
        sorted({action for source in (*SOURCES, EksClusters) for action in source.PERMISSIONS})
    )

    def __init__(self, clients: Clients) -> None:
        self._sources: list[Source] = [source(clients) for source in SOURCES]
        self._eks = EksClusters(clients)

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        """One a source, and one for each EKS cluster. Never raises TallymanError: what went wrong is in the reading."""
        found = []
        for source in self._sources:
            try:
                uses = tuple(source.running(registry))
                found.append(Reading(source.name, registry, at, uses, regional=source.regional))
            except TallymanError as error:
                found.append(Reading(source.name, registry, at, error=str(error), regional=source.regional))
        found.extend(self._eks.readings(registry, at, rules))
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


def _covered(arn: str, since: datetime | None, registry: EcrRegistry) -> Use:
    """From `arn:aws:ecr:<region>:<account>:repository/<name>/sha256:…`. BadName where it is anything else: what runs
    then is not known."""
    head, _, digest = arn.rpartition("/")
    return Use("workload", arn, arn, registry, Repository.parse(head), None, Digest.parse(digest), since)
