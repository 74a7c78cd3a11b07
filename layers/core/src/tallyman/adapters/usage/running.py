"""What runs where, as far as AWS tells: ECS tasks and Lambda functions of one account and region.

Each source is a class of its own with one method, `running`; `SOURCES` is all of them.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Digest, ImageName, Registry, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.usage import Use
from tallyman.errors import BadName


class EcsUsage:
    """Containers of ECS tasks that run now: ECS tells their digest itself."""

    PERMISSIONS: tuple[str, ...] = permissions("ecs:DescribeTasks", "ecs:ListClusters", "ecs:ListTasks")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: Registry) -> Iterator[Use]:
        """ListClusters, ListTasks for each, DescribeTasks for a hundred tasks each."""
        client = self._clients.get("ecs", registry)
        for cluster in _pages(client, "list_clusters", "clusterArns", registry):
            tasks = list(_pages(client, "list_tasks", "taskArns", registry, cluster=cluster))
            for start in range(0, len(tasks), 100):
                with translated(f"describe the tasks of {cluster}"):
                    answer = client.describe_tasks(cluster=cluster, tasks=tasks[start : start + 100])
                for task in answer.get("tasks", []):
                    yield from _of_task(registry, cluster, task)


class LambdaUsage:
    """Lambda functions made of an image: the digest is the one that the function was resolved to."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:GetFunction", "lambda:ListFunctions")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def running(self, registry: Registry) -> Iterator[Use]:
        """ListFunctions, and GetFunction for each that is an image."""
        client = self._clients.get("lambda", registry)
        for function in _pages(client, "list_functions", "Functions", registry):
            if function.get("PackageType") != "Image":
                continue
            with translated(f"read the function {function['FunctionName']}"):
                code = client.get_function(FunctionName=function["FunctionArn"]).get("Code", {})
            image = code.get("ResolvedImageUri") or code.get("ImageUri") or ""
            since = function.get("LastModified")
            yield use("lambda function", function["FunctionArn"], image, registry, since=_time(since))


SOURCES = (EcsUsage, LambdaUsage)


class EverySource:
    """`Usage`: all sources, one after the other; one that can't be read raises, for what it uses is then not known."""

    PERMISSIONS: tuple[str, ...] = tuple(sorted({action for source in SOURCES for action in source.PERMISSIONS}))

    def __init__(self, clients: Clients) -> None:
        self._sources = [source(clients) for source in SOURCES]

    def running(self, registry: Registry) -> Iterator[Use]:
        for source in self._sources:
            yield from source.running(registry)


def use(
    kind: str, name: str, image: str, registry: Registry, digest: str | None = None, since: datetime | None = None
) -> Use:
    """From an image's address as a service tells it; one that is no ECR address has no repository."""
    try:
        named = ImageName.parse_any(image)
    except BadName:
        named = None
    repository = Repository(named.registry, named.repository) if named and named.registry else None
    found = Digest.parse(digest) if digest else named.digest if named else None
    return Use(kind, name, image, registry, repository, named.tag if named else None, found, since)


def _of_task(registry: Registry, cluster: str, task: dict[str, Any]) -> Iterator[Use]:
    service = str(task.get("group", "")).removeprefix("service:") if ":" in str(task.get("group", "")) else None
    where = f"{cluster.rpartition('/')[2]}/{service or task['taskArn'].rpartition('/')[2]}"
    for container in task.get("containers", []):
        digest = container.get("imageDigest")
        name = f"{where}/{container.get('name', '')}"
        yield use("ecs task", name, container.get("image", ""), registry, digest, task.get("startedAt"))


def _pages(client: Any, method: str, key: str, registry: Registry, **request: Any) -> Iterator[Any]:
    token, asks = ("nextToken", "nextToken") if method != "list_functions" else ("NextMarker", "Marker")
    while True:
        with translated(f"{method} in {registry}"):
            answer = getattr(client, method)(**request)
        yield from answer.get(key, [])
        if not answer.get(token):
            return
        request[asks] = answer[token]


def _time(text: Any) -> datetime | None:
    """Lambda's own form: 2026-11-16T01:54:34.000+0000."""
    try:
        return datetime.strptime(str(text), "%Y-%m-%dT%H:%M:%S.%f%z")
    except ValueError:
        return None
