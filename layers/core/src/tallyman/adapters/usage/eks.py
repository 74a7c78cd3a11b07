"""Read what the EKS clusters of an account and region run, from the Kubernetes API of each."""

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from tallyman.adapters.aws.absent import absent
from tallyman.adapters.aws.paging import items
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.usage.kubernetes import KubernetesApi
from tallyman.adapters.usage.running import Clients
from tallyman.adapters.usage.workloads import WORKLOADS, uses
from tallyman.domain.names import EcrRegistry
from tallyman.domain.partitions import partition_of
from tallyman.domain.permissions import permissions
from tallyman.domain.policy import UsageRules
from tallyman.domain.usage import Reading, Use
from tallyman.errors import NotFound, TallymanError, Unreachable

ID_HEADER = "x-k8s-aws-id"
"""The header that binds a token to one cluster: without it a token would be valid for every cluster with this role."""


class EksClusters:
    """Reads every cluster of an account and region that the policy does not ignore; one Reading for each."""

    PERMISSIONS: tuple[str, ...] = permissions("eks:DescribeCluster", "eks:ListClusters", "sts:GetCallerIdentity")

    def __init__(self, clients: Clients, sleep: Callable[[float], None] = time.sleep) -> None:
        self._clients, self._sleep = clients, sleep

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> Iterator[Reading]:
        """The Reading `EKS`, which says whether the clusters could be listed, and one for each cluster. Never raises
        TallymanError."""
        try:
            clusters = self.clusters(registry, rules)
        except TallymanError as error:
            yield Reading("EKS", registry, at, error=str(error))
            return
        yield Reading("EKS", registry, at)
        for cluster in clusters:
            source = f"EKS cluster {cluster}"
            try:
                yield Reading(source, registry, at, tuple(self.running(registry, cluster)))
            except TallymanError as error:
                yield Reading(source, registry, at, error=str(error))

    def clusters(self, registry: EcrRegistry, rules: UsageRules) -> list[str]:
        """The names of the clusters to read; empty where the region has no EKS. One ListClusters for 100."""
        if not rules.reads_any(registry):
            return []
        client = self._clients.get("eks", registry)
        try:
            found = list(items(client.list_clusters, {}, "clusters", f"list the EKS clusters of {registry}"))
        except Unreachable as error:
            if not absent("eks", registry.region, error):
                raise
            return []
        return [name for name in found if rules.reads(registry, name)]

    def running(self, registry: EcrRegistry, cluster: str) -> list[Use]:
        """Every image that one cluster names, each use once; empty where the cluster is gone or has no API yet. One
        DescribeCluster, and a list of each kind of workload, 250 objects a request."""
        what = f"describe the EKS cluster {cluster} in {registry}"
        try:
            with translated(what):
                found = self._clients.get("eks", registry).describe_cluster(name=cluster)["cluster"]
        except NotFound:
            return []
        if not found.get("endpoint") and found.get("status") in ("CREATING", "FAILED"):
            return []  # without an API nothing can have been started
        try:
            api = self._api(found, registry, cluster)
        except Unreachable as error:
            raise Unreachable(f"{what}: {error}") from error
        try:
            seen: dict[Use, None] = {}
            for workload in WORKLOADS:
                listing = f"list {workload.path.rpartition('/')[2]} of the EKS cluster {cluster} in {registry}"
                for item in api.items(workload.path, workload.listed, listing):
                    seen.update(dict.fromkeys(uses(workload, item, cluster, registry)))
            return list(seen)
        finally:
            api.close()

    def _api(self, found: dict[str, Any], registry: EcrRegistry, cluster: str) -> KubernetesApi:
        sts = self._clients.get("sts", registry)
        identity = str(found.get("id") or cluster)  # clusters on Outposts use an id
        return KubernetesApi(
            str(found.get("endpoint") or ""),
            _pem(str((found.get("certificateAuthority") or {}).get("data") or "")),
            lambda: token(sts, identity, registry),
            entry=lambda: _entry(sts, registry, cluster),
            network=_network(found.get("resourcesVpcConfig") or {}),
            sleep=self._sleep,
        )


def token(sts: Any, cluster: str, registry: EcrRegistry) -> str:
    """The bearer token for EKS: a presigned GetCallerIdentity for this cluster only. STS accepts it for 60 seconds, EKS
    for 15 minutes. Makes no request."""
    events = sts.meta.events
    events.register("provide-client-params.sts.GetCallerIdentity", _keep_cluster, unique_id="tallyman-eks-keep")
    events.register("before-sign.sts.GetCallerIdentity", _add_cluster, unique_id="tallyman-eks-add")
    with translated(f"sign a token for the EKS cluster {cluster} in {registry}"):
        url = sts.generate_presigned_url(
            "get_caller_identity", Params={ID_HEADER: cluster}, ExpiresIn=60, HttpMethod="GET"
        )
    return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")


def _keep_cluster(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    if ID_HEADER in params:
        context[ID_HEADER] = params.pop(ID_HEADER)


def _add_cluster(request: Any, **_: Any) -> None:
    if ID_HEADER in request.context:
        request.headers[ID_HEADER] = request.context[ID_HEADER]


def _pem(data: str) -> str:
    """The certificates of `certificateAuthority.data`. Raises Unreachable where they are not base64 of ASCII."""
    try:
        return base64.b64decode(data, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise Unreachable("the cluster's certificate authority is not base64 of PEM") from None


def _entry(sts: Any, registry: EcrRegistry, cluster: str) -> str:
    """The commands that give our role access to the cluster. One GetCallerIdentity, for the role's name."""
    try:
        with translated("get our role from STS"):
            role = _role(str(sts.get_caller_identity()["Arn"]))
    except TallymanError:
        role = "ROLE"  # the cluster's error matters more than STS's
    named = f"--cluster-name {cluster} --region {registry.region} --principal-arn {role}"
    policy = f"arn:{partition_of(registry.region).name}:eks::aws:cluster-access-policy/AmazonEKSViewPolicy"
    return (
        f"let {role} read: aws eks create-access-entry {named} && aws eks associate-access-policy {named} "
        f"--policy-arn {policy} --access-scope type=cluster; or name the cluster in `usage.eks.ignore` of the policy "
        "if it runs nothing of these registries"
    )


def _role(arn: str) -> str:
    """The ARN of a role from the ARN of its session, which lacks the role's path; other ARNs unchanged."""
    head, assumed, rest = arn.partition(":assumed-role/")
    return f"{head.replace(':sts:', ':iam:', 1)}:role/{rest.partition('/')[0]}" if assumed else arn


def _network(config: dict[str, Any]) -> str:
    """A hint for errors: why the cluster may not answer, and what to do."""
    if config.get("endpointPublicAccess") is False:
        return (
            "; its endpoint is private: the functions reach it only from its VPC (parameters SubnetIds and "
            "SecurityGroupIds), and its security group must allow them"
        )
    ranges = config.get("publicAccessCidrs") or []
    if ranges and "0.0.0.0/0" not in ranges:
        return f"; its public endpoint allows only {', '.join(map(str, ranges))}"
    return ""
