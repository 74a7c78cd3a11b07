"""Add to moto what rollouts need: ECS's deployments and circuit breaker, and failed updates of Lambda functions.

moto keeps the first deployment of a service. Here UpdateService makes a new one, which is steady at once; for a service
that is to fail, the circuit breaker ends it as FAILED, and the service keeps its task definition.
"""

from typing import Any

from moto.awslambda.models import LambdaFunction
from moto.core.utils import utcnow
from moto.ecs.models import EC2ContainerServiceBackend, Service
from moto.moto_api._internal import mock_random

FAILING: dict[str, str] = {}
"""Why the next deployments fail, by `cluster/service` or function, with or without `region:` before it."""

_REASON = "ECS deployment circuit breaker: {0}."

_moto_update_service = EC2ContainerServiceBackend.update_service
_moto_get_configuration = LambdaFunction.get_configuration
_moto_update_code = LambdaFunction.update_function_code


def _failing(region: str, name: str) -> str | None:
    return FAILING.get(f"{region}:{name}") or FAILING.get(name)


def _update_service(self: EC2ContainerServiceBackend, service_properties: dict[str, Any]) -> Service:
    """moto's, with a new deployment where the task definition changes."""
    cluster = str(service_properties.get("cluster", "default")).rpartition("/")[2]
    before = self._get_service(cluster, str(service_properties["service"]).rpartition("/")[2])
    was, wanted = before.task_definition, service_properties.get("task_definition")
    service = _moto_update_service(self, service_properties)
    if wanted and wanted != was:
        failing = _failing(service.region_name, f"{service.cluster_name}/{service.name}")
        steady = _deployment(service, was if failing else wanted, "PRIMARY", "COMPLETED", "ECS deployment completed.")
        service.deployments = [steady]
        if failing:
            service.task_definition = was
            failed = _deployment(service, wanted, "ACTIVE", "FAILED", _REASON.format(failing))
            service.deployments.append(failed)
    return service


def _deployment(service: Service, definition: str | None, status: str, state: str, reason: str) -> dict[str, Any]:
    now = utcnow()
    return {
        "id": f"ecs-svc/{mock_random.randint(0, 32**12)}",
        "status": status,
        "taskDefinition": definition,
        "desiredCount": service.desired_count,
        "pendingCount": 0,
        "runningCount": service.desired_count if state == "COMPLETED" else 0,
        "failedTasks": 0 if state == "COMPLETED" else 3,
        "createdAt": now,
        "updatedAt": now,
        "launchType": service.launch_type,
        "rolloutState": state,
        "rolloutStateReason": reason,
    }


def _get_configuration(self: LambdaFunction, on_create: bool = False) -> dict[str, Any]:
    """moto's, with the failure of `FAILING`."""
    found: dict[str, Any] = _moto_get_configuration(self, on_create)
    if reason := _failing(self.region, self.function_name):
        found |= {"LastUpdateStatus": "Failed", "LastUpdateStatusReason": reason}
    return found


def _update_code(self: LambdaFunction, updated_spec: dict[str, Any]) -> dict[str, Any]:
    """moto's, without changing the published versions, which share the dict of the code with it."""
    self.code = dict(self.code)
    found: dict[str, Any] = _moto_update_code(self, updated_spec)
    return found


if EC2ContainerServiceBackend.update_service is not _update_service:
    EC2ContainerServiceBackend.update_service = _update_service
    LambdaFunction.get_configuration = _get_configuration
    LambdaFunction.update_function_code = _update_code
