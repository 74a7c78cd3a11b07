"""Read which images ECS tasks run, and read the answers of ECS and Lambda that several sources use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from tallyman.adapters.aws.paging import Answer, batches, items, listed
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Digest, EcrRegistry, ImageName, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.usage import Use
from tallyman.errors import BadName, NotFound, Unreachable


class Clients(Protocol):
    """Makes clients of AWS for a service in the registry's account and region."""

    def get(self, service: str, registry: EcrRegistry | None = None) -> Any: ...


class EcsUsage:
    """Containers of running ECS tasks; ECS reports their digests."""

    PERMISSIONS: tuple[str, ...] = permissions("ecs:DescribeTasks", "ecs:ListClusters", "ecs:ListTasks")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: EcrRegistry) -> Iterator[Use]:
        """ListClusters, ListTasks for each cluster, DescribeTasks for 100 tasks."""
        client = self._clients.get("ecs", registry)
        for cluster in items(client.list_clusters, {}, "clusterArns", f"list the clusters of {registry}"):
            tasks = list(items(client.list_tasks, {"cluster": cluster}, "taskArns", f"list the tasks of {cluster}"))
            what = f"describe the tasks of {cluster}"
            for asked in batches(tasks):
                with translated(what):
                    answer = client.describe_tasks(cluster=cluster, tasks=asked)
                for task in described(answer, "tasks", "taskArn", asked, what):
                    yield from _of_task(registry, cluster, task)


def described(answer: Answer, key: str, name: str, asked: Sequence[str], what: str) -> list[Any]:
    """The items of an answer to ECS's describe calls; `asked`: the ARNs in the request. An ARN that is MISSING has
    ended since. Raises Unreachable for any other failure, and for an ARN that the answer does not name: what it runs is
    then unknown."""
    found = listed(answer, key, what)
    for failure in answer.get("failures") or []:
        if failure.get("reason") != "MISSING":
            raise Unreachable(f"{what}: {failure.get('arn')}: {failure.get('reason')} {failure.get('detail') or ''}")
    named = {each.get(name) for each in found} | {failure.get("arn") for failure in answer.get("failures") or []}
    if silent := [each for each in asked if each not in named]:
        raise Unreachable(f"{what}: the answer does not name {silent[0]}")
    return found


def functions(client: Any, registry: EcrRegistry, **request: Any) -> Iterator[Any]:
    """Lambda's functions, except those that ListFunctions says are not of a container image."""
    what = f"list the functions of {registry}"
    for function in items(client.list_functions, request, "Functions", what, ("NextMarker", "Marker")):
        if function.get("PackageType", "Image") == "Image":
            yield function


def images_of_function(client: Any, request: Mapping[str, str]) -> list[str]:
    """The image that Lambda resolved, then the one that was set; empty where the function is gone, or its code is not
    an image. One GetFunction. Raises Unreachable where the answer says neither."""
    what = f"read the function {request['FunctionName']}"
    try:
        with translated(what):
            code = client.get_function(**request).get("Code") or {}
    except NotFound:
        return []
    images = [image for image in (code.get("ResolvedImageUri"), code.get("ImageUri")) if image]
    if not images and code.get("RepositoryType") != "S3":
        raise Unreachable(f"{what}: the answer does not say which image it has")
    return list(dict.fromkeys(images))


def use(
    kind: str, name: str, image: str, registry: EcrRegistry, digest: str | None = None, since: datetime | None = None
) -> Use:
    """A use of an image by its address, as the service reports it; an address outside ECR has no repository. Raises
    Unreachable where the service names neither an image nor a digest: what it uses is then unknown."""
    if not image and not digest:
        raise Unreachable(f"{kind} {name} in {registry}: the answer does not say which image it uses")
    try:
        named = ImageName.parse_any(image)
    except BadName:
        named = None
    repository = Repository(named.registry, named.repository) if named and named.registry else None
    found = Digest.parse(digest) if digest else named.digest if named else None
    return Use(kind, name, image, registry, repository, named.tag if named else None, found, since)


def only_named(use: Use) -> Use:
    """The use as one that does not run now."""
    return replace(use, runs=False)


def _of_task(registry: EcrRegistry, cluster: str, task: dict[str, Any]) -> Iterator[Use]:
    service = str(task.get("group", "")).removeprefix("service:") if ":" in str(task.get("group", "")) else None
    where = f"{cluster.rpartition('/')[2]}/{service or task['taskArn'].rpartition('/')[2]}"
    for container in listed(task, "containers", f"describe the task {task['taskArn']}"):
        digest = container.get("imageDigest")
        name = f"{where}/{container.get('name', '')}"
        yield use("ecs task", name, container.get("image", ""), registry, digest, task.get("startedAt"))
