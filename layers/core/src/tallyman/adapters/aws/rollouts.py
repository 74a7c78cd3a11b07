"""Rollouts: let ECS services and Lambda functions run another image, by its digest."""

from collections.abc import Mapping
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.paging import listed
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import EcrRegistry
from tallyman.domain.permissions import permissions
from tallyman.domain.policy import Service
from tallyman.errors import BadInput, NotFound, Unreachable
from tallyman.ports.running import Moving

_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
_LONGEST_DESCRIPTION = 256
"""Characters of the description of a Lambda version; an address with a long repository name has more."""


def not_rolling(service: Mapping[str, Any]) -> str | None:
    """Why releases can't move a service (an item of DescribeServices): it has no rolling updates. None: they can."""
    controller = (service.get("deploymentController") or {}).get("type") or "ECS"
    strategy = (service.get("deploymentConfiguration") or {}).get("strategy") or "ROLLING"
    if controller != "ECS":
        return f"its deployment controller is {controller}; releases move only services with rolling updates (ECS)"
    if strategy != "ROLLING":
        return f"its deployment strategy is {strategy}; releases move only services with ROLLING"
    return None


class EcsRollOuts:
    """Registers a revision of the task definition and updates the service to it, with the circuit breaker on.

    Only rolling updates: CodeDeploy, external controllers, blue/green, linear and canary deployments shift traffic by
    their own rules, have no circuit breaker and report their end in other ways.
    """

    PERMISSIONS: tuple[str, ...] = permissions(
        "ecs:DescribeServices",
        "ecs:DescribeTaskDefinition",
        "ecs:RegisterTaskDefinition",
        "ecs:UpdateService",
    )

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def current(self, registry: EcrRegistry, service: Service) -> str:
        """The ARN of the task definition. Raises BadInput for a service without rolling updates."""
        return str(self._rolling(registry, service)["taskDefinition"])

    def architecture(self, registry: EcrRegistry, service: Service) -> str | None:
        """None: ECS takes an index."""
        return None

    def move(self, registry: EcrRegistry, service: Service, image: str) -> str:
        """Return the ARN of the revision. DescribeServices and DescribeTaskDefinition; RegisterTaskDefinition and
        UpdateService too, unless the service runs the image already."""
        client = self._client(registry)
        current = self.current(registry, service)
        with translated(f"read the task definition of {service} in {registry}"):
            answer = client.describe_task_definition(taskDefinition=current, include=["TAGS"])
        definition = answer["taskDefinition"]
        container = _container(definition, service)
        if container.get("image") == image:
            return current
        container["image"] = image
        accepted = client.meta.service_model.operation_model("RegisterTaskDefinition").input_shape.members
        wanted = {key: definition[key] for key in accepted if definition.get(key)}
        # AWS alone sets tags of its reserved prefix, and refuses a request with one
        if tags := [tag for tag in answer.get("tags") or () if not tag["key"].lower().startswith("aws:")]:
            wanted["tags"] = tags
        with translated(f"register a task definition for {service} in {registry}"):
            revision = client.register_task_definition(**wanted)["taskDefinition"]["taskDefinitionArn"]
        self._update(registry, service, revision)
        return str(revision)

    def settled(self, registry: EcrRegistry, service: Service, moved: str) -> Moving:
        """Read the deployment of the revision: ECS reports COMPLETED when the service is steady, and FAILED when the
        circuit breaker has opened; a service that runs another revision by then was rolled back."""
        found = self._describe(registry, service)
        for deployment in found.get("deployments") or []:
            if deployment.get("taskDefinition") == moved:
                state, reason = deployment.get("rolloutState"), deployment.get("rolloutStateReason", "")
                if state == "FAILED":
                    return Moving(False, reason)
                if deployment.get("status") == "PRIMARY":
                    return Moving(True if state == "COMPLETED" else None, reason)
        if found["taskDefinition"] != moved:
            return Moving(False, f"the service went back to {found['taskDefinition'].rpartition('/')[2]}")
        return Moving(None, "the deployment has not begun")

    def back(self, registry: EcrRegistry, service: Service, before: str) -> None:
        """One UpdateService; none where the service runs that revision already."""
        if self.current(registry, service) != before:
            self._update(registry, service, before)

    def _update(self, registry: EcrRegistry, service: Service, revision: str) -> None:
        """UpdateService: with the revision alone where the circuit breaker is on; otherwise with the service's whole
        deployment configuration, so that its percentages and alarms stay."""
        cluster, _, name = service.name.partition("/")
        current = self._rolling(registry, service).get("deploymentConfiguration") or {}
        breaker = current.get("deploymentCircuitBreaker") or {}
        change: dict[str, Any] = {}
        if not (breaker.get("enable") and breaker.get("rollback")):
            on = {**breaker, "enable": True, "rollback": True}
            change["deploymentConfiguration"] = {**current, "deploymentCircuitBreaker": on}
        with translated(f"update {service} in {registry}"):
            self._client(registry).update_service(cluster=cluster, service=name, taskDefinition=revision, **change)

    def _rolling(self, registry: EcrRegistry, service: Service) -> dict[str, Any]:
        found = self._describe(registry, service)
        if why := not_rolling(found):
            raise BadInput(f"{service} in {registry} can't be moved by a release: {why}")
        return found

    def _describe(self, registry: EcrRegistry, service: Service) -> dict[str, Any]:
        cluster, _, name = service.name.partition("/")
        what = f"describe {service} in {registry}"
        with translated(what):
            answer = self._client(registry).describe_services(cluster=cluster, services=[name])
        listing: list[dict[str, Any]] = listed(answer, "services", what)
        for found in listing:
            if found.get("status") != "INACTIVE":
                return found
        failed = [str(failure.get("reason")) for failure in answer.get("failures") or []]
        if listing or "MISSING" in failed:
            raise NotFound(f"there is no {service} in {registry}")
        raise Unreachable(f"{what}: the answer does not name it{f' ({failed[0]})' if failed else ''}")

    def _client(self, registry: EcrRegistry) -> Any:
        return self._clients.get("ecs", registry, "roll-out")


class LambdaRollOuts:
    """Updates the code of the function, publishes a version and moves the alias to it.

    AWS's page "Create a Lambda function using a container image" asks that the caller may read the image, and may read
    and set the policy of its repository, because Lambda adds its own permission to pull to that policy. Our role may
    not set it: the policy of repositories that we create allows Lambda to pull from the start
    (`domain/push_protection.py`).
    """

    PERMISSIONS: tuple[str, ...] = permissions(
        "lambda:GetAlias",
        "lambda:GetFunction",
        "lambda:PublishVersion",
        "lambda:UpdateAlias",
        "lambda:UpdateFunctionCode",
    )

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def current(self, registry: EcrRegistry, service: Service) -> str:
        """The version that the alias names."""
        with translated(f"read the alias {service.alias} of {service} in {registry}"):
            answer = self._client(registry).get_alias(FunctionName=service.name, Name=service.alias)
        return str(answer["FunctionVersion"])

    def architecture(self, registry: EcrRegistry, service: Service) -> str | None:
        """The function's architecture: Lambda takes no index."""
        (name, *_) = self._read(registry, service)["Configuration"].get("Architectures") or ["x86_64"]
        return _ARCHITECTURES.get(str(name), str(name))

    def move(self, registry: EcrRegistry, service: Service, image: str) -> str:
        """Return the image. UpdateFunctionCode, unless the code is that image already; `settled` moves the alias."""
        if self._read(registry, service).get("Code", {}).get("ImageUri") != image:
            with translated(f"update the code of {service} in {registry}"):
                self._client(registry).update_function_code(FunctionName=service.name, ImageUri=image, Publish=False)
        return image

    def settled(self, registry: EcrRegistry, service: Service, moved: str) -> Moving:
        """When the code is in place, publishes a version (for the same code Lambda returns the same version) and moves
        the alias. Where Lambda can't use the image, the alias stays."""
        found = self._read(registry, service)
        status = found["Configuration"].get("LastUpdateStatus")
        if status == "Failed":
            return Moving(False, found["Configuration"].get("LastUpdateStatusReason", "the update failed"))
        if status != "Successful":
            return Moving(None, "Lambda is preparing the image" if status else "Lambda reports no status of the update")
        if found.get("Code", {}).get("ImageUri") != moved:
            return Moving(False, "somebody else has changed the function's code since")
        client = self._client(registry)
        with translated(f"publish a version of {service} in {registry}"):
            version = client.publish_version(
                FunctionName=service.name,
                Description=moved[-_LONGEST_DESCRIPTION:],  # the digest is at the end
            )["Version"]
        if self.current(registry, service) != version:
            self.back(registry, service, version)
        return Moving(True, f"version {version}")

    def back(self, registry: EcrRegistry, service: Service, before: str) -> None:
        """Move the alias to the version."""
        with translated(f"move the alias {service.alias} of {service} in {registry}"):
            self._client(registry).update_alias(FunctionName=service.name, Name=service.alias, FunctionVersion=before)

    def _read(self, registry: EcrRegistry, service: Service) -> dict[str, Any]:
        with translated(f"read {service} in {registry}"):
            answer: dict[str, Any] = self._client(registry).get_function(FunctionName=service.name)
        return answer

    def _client(self, registry: EcrRegistry) -> Any:
        return self._clients.get("lambda", registry, "roll-out")


def _container(definition: dict[str, Any], service: Service) -> dict[str, Any]:
    containers: list[dict[str, Any]] = definition["containerDefinitions"]
    if service.container is None:
        if len(containers) != 1:
            names = ", ".join(str(c["name"]) for c in containers)
            raise BadInput(f"{service} has several containers ({names}): name one in the policy with `container`")
        return containers[0]
    for container in containers:
        if container["name"] == service.container:
            return container
    raise BadInput(f"{service} has no container {service.container}")
