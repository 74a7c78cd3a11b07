"""Read everything that could need an image, for retention: what runs and what is set up to run. One class per source.

This is more than what runs: a service that is scaled to zero, a published version of a function or a job definition
runs nothing (`Use.runs`), but pulls its image as soon as somebody uses it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from tallyman.adapters.aws.absent import absent
from tallyman.adapters.aws.paging import batches, items, listed
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.usage.eks import EksClusters
from tallyman.adapters.usage.running import Clients, EcsUsage, described, functions, images_of_function, only_named, use
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.policy import UsageRules
from tallyman.domain.usage import Reading, Use
from tallyman.errors import NotAllowed, TallymanError, Unreachable


class Source(Protocol):
    """One source of usage. `regional`: it pulls only from registries of its own region."""

    name: str
    regional: bool

    def running(self, registry: EcrRegistry) -> Iterator[Use]: ...


class EcsServices(EcsUsage):
    """Running tasks, and the task definitions that services use: a service may start their images at any time."""

    PERMISSIONS: tuple[str, ...] = (
        *EcsUsage.PERMISSIONS,
        "ecs:DescribeServiceRevisions",
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:ListServices",
    )
    name, regional = "ECS", False

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """The calls of EcsUsage; ListServices for each cluster, DescribeServices for ten services,
        DescribeServiceRevisions for twenty revisions, DescribeTaskDefinition for each that is used."""
        yield from super().running(registry)
        client = self._clients.get("ecs", registry)
        used: dict[str, str] = {}
        current: list[str] = []
        for cluster in items(client.list_clusters, {}, "clusterArns", f"list the clusters of {registry}"):
            what = f"list the services of {cluster}"
            services = list(items(client.list_services, {"cluster": cluster}, "serviceArns", what))
            what = f"describe the services of {cluster}"
            for asked in batches(services, 10):
                with translated(what):
                    answer = client.describe_services(cluster=cluster, services=asked)
                for service in described(answer, "services", "serviceArn", asked, what):
                    current += [each["arn"] for each in service.get("currentServiceRevisions") or [] if each.get("arn")]
                    revisions = [service, *(service.get("deployments") or []), *(service.get("taskSets") or [])]
                    for definition in (r.get("taskDefinition") for r in revisions):
                        if definition:
                            used.setdefault(definition, service["serviceArn"])
        yield from _resolved(client, current, registry)
        for definition, service in used.items():
            what = f"read the task definition {definition}"
            with translated(what):
                found = client.describe_task_definition(taskDefinition=definition)["taskDefinition"]
            for container in listed(found, "containerDefinitions", what):
                name = f"{service.rpartition(':')[2]} ({definition.rpartition('/')[2]})"
                yield only_named(use("ecs service", name, container.get("image", ""), registry))


class LambdaVersions:
    """Functions of container images, and their published versions, which aliases point at. Lambda pulls only from
    registries of its own region (user guide, "Create a Lambda function using a container image")."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:GetFunction", "lambda:ListFunctions")
    name, regional = "Lambda", True

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """ListFunctions with all versions, and GetFunction for each with an image."""
        client = self._clients.get("lambda", registry)
        for function in functions(client, registry, FunctionVersion="ALL"):
            request = {"FunctionName": function["FunctionName"]}
            if function.get("Version", "$LATEST") != "$LATEST":
                request["Qualifier"] = function["Version"]
            for number, image in enumerate(images_of_function(client, request)):
                # the first is what Lambda runs; which published version an alias points to is not read
                found = use("lambda function", function["FunctionArn"], image, registry)
                runs = number == 0 and "Qualifier" not in request
                since = _time(function.get("LastModified")) if runs and found.digest is not None else None
                yield replace(found, since=since, runs=runs)


class BatchJobs:
    """Images that active job definitions of AWS Batch name."""

    PERMISSIONS: tuple[str, ...] = permissions("batch:DescribeJobDefinitions")
    name, regional = "Batch", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """DescribeJobDefinitions, 100 a page."""
        client = self._clients.get("batch", registry)
        what = f"describe the job definitions of {registry}"
        for job in items(client.describe_job_definitions, {"status": "ACTIVE"}, "jobDefinitions", what):
            name = f"{job.get('jobDefinitionName', '')}:{job.get('revision', '')}"
            for image in dict.fromkeys(_images(job)):
                yield only_named(use("batch job definition", name, image, registry))


class InspectorInUse:
    """Images in use on EKS and ECS by Inspector's ListCoverage, with their digests."""

    PERMISSIONS: tuple[str, ...] = permissions("inspector2:BatchGetAccountStatus", "inspector2:ListCoverage")
    name, regional = "Inspector", False

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """ListCoverage of images with a use count of at least one, 200 a page. Where Inspector refuses, one
        BatchGetAccountStatus: an Inspector that is off reports nothing, which is no failure. Neither is a region
        without Inspector."""
        client = self._clients.get("inspector2", registry)
        wanted = {
            "resourceType": [{"comparison": "EQUALS", "value": "AWS_ECR_CONTAINER_IMAGE"}],
            "ecrImageInUseCount": [{"lowerInclusive": 1}],
        }
        what = f"list what Inspector covers in {registry}"
        try:
            covered = list(items(client.list_coverage, {"filterCriteria": wanted}, "coveredResources", what))
        except NotAllowed:
            with translated(f"read whether Inspector is on in {registry}"):
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
    """`UsageReadings`: reads each source by itself, so that the result says which could not be read, and why."""

    PERMISSIONS: tuple[str, ...] = tuple(
        sorted({action for source in (*SOURCES, EksClusters) for action in source.PERMISSIONS})
    )

    def __init__(self, clients: Clients) -> None:
        self._sources: list[Source] = [source(clients) for source in SOURCES]
        self._eks = EksClusters(clients)

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        """One Reading for each source and each EKS cluster. Never raises TallymanError: a Reading holds its error."""
        found = [reading(source, registry, at) for source in self._sources]
        found.extend(self._eks.readings(registry, at, rules))
        return found


def reading(source: Source, registry: EcrRegistry, at: datetime) -> Reading:
    """The Reading of one source. Never raises TallymanError."""
    try:
        return Reading(source.name, registry, at, tuple(source.running(registry)), regional=source.regional)
    except TallymanError as error:
        return Reading(source.name, registry, at, error=str(error), regional=source.regional)


def _resolved(client: Any, revisions: Sequence[str], registry: EcrRegistry) -> Iterator[Use]:
    """The digests to which ECS resolved the tags of services when it started their first tasks. It starts each further
    task from the digest ("container image resolution"), also after the tag has moved and the service had no tasks."""
    what = f"describe the service revisions of {registry}"
    for asked in batches(revisions, 20):
        with translated(what):
            answer = client.describe_service_revisions(serviceRevisionArns=asked)
        for revision in described(answer, "serviceRevisions", "serviceRevisionArn", asked, what):
            name = str(revision["serviceRevisionArn"]).rpartition(":")[2]
            for container in revision.get("containerImages") or []:
                if digest := container.get("imageDigest"):  # without one, the tag is resolved at the next start
                    yield only_named(use("ecs service", name, container.get("image", ""), registry, digest))


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
    """The use of `arn:aws:ecr:<region>:<account>:repository/<name>/sha256:…`. Raises BadName for any other ARN: which
    image runs is then unknown."""
    head, _, digest = arn.rpartition("/")
    return Use("workload", arn, arn, registry, Repository.parse(head), None, Digest.parse(digest), since)


def _time(text: Any) -> datetime | None:
    """Parse Lambda's form of a time, 2026-11-16T01:54:34.000+0000; None where it has another form."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        return None
