"""Find the images that objects of a Kubernetes cluster name: pods, and the templates that pods are made from."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from tallyman.adapters.usage.kubernetes import Item
from tallyman.adapters.usage.running import only_named, use
from tallyman.domain.images.documents import part
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.times import parse_time
from tallyman.domain.usage import Use
from tallyman.errors import BadInput, BadName, Unreachable
from tallyman.values import value

LONGEST = 1024
"""Characters of an image's name. No registry has a longer one, so nothing uses it."""


@value
class Workload:
    """One kind of object: the path of its list, and the keys that lead to the pod's spec."""

    kind: str
    path: str
    spec: tuple[str, ...]

    @property
    def listed(self) -> str:
        """The kind of its list."""
        return f"{self.kind}List"


_TEMPLATE = ("spec", "template", "spec")
WORKLOADS = (
    Workload("CronJob", "/apis/batch/v1/cronjobs", ("spec", "jobTemplate", *_TEMPLATE)),
    Workload("Job", "/apis/batch/v1/jobs", _TEMPLATE),
    Workload("Deployment", "/apis/apps/v1/deployments", _TEMPLATE),
    Workload("StatefulSet", "/apis/apps/v1/statefulsets", _TEMPLATE),
    Workload("DaemonSet", "/apis/apps/v1/daemonsets", _TEMPLATE),
    Workload("ReplicationController", "/api/v1/replicationcontrollers", _TEMPLATE),
    Workload("ReplicaSet", "/apis/apps/v1/replicasets", _TEMPLATE),
    Workload("ControllerRevision", "/apis/apps/v1/controllerrevisions", ("data", *_TEMPLATE)),
    Workload("Pod", "/api/v1/pods", ("spec",)),
)
"""Parents stand before the objects that they create, so that an image that moves down during the reading is still seen.

Roll-backs go to replica sets that are scaled to zero (deployments) and to controller revisions (stateful and daemon
sets). Kubernetes deletes those that no roll-back needs (`revisionHistoryLimit`), so all existing ones count.
"""

_REVISED = ("StatefulSet", "DaemonSet")
_ENDED = ("Succeeded", "Failed")
"""Phases of a pod whose containers have all ended."""
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def uses(workload: Workload, item: Item, cluster: str, registry: EcrRegistry) -> Iterator[Use]:
    """Every image that an object of the cluster names. Pods of one controller have its name and give equal uses.

    Raises Unreachable where the object does not say its images: what it uses is then unknown.
    """
    metadata = part(item, "metadata")
    namespace, name = str(metadata.get("namespace", "")), str(metadata.get("name", ""))
    kind, what = f"eks {workload.kind.lower()}", f"{workload.kind} {namespace}/{name} of {cluster}"
    owner = _owner(metadata, what)
    spec: Any = item
    for key in workload.spec:
        spec = part(spec, key)
    if workload.kind == "ControllerRevision" and not spec and owner.get("kind") not in _REVISED:
        return  # a revision of a custom kind, in another form
    if workload.kind == "Pod":
        if owner:
            kind, name = f"eks pod of {str(owner.get('kind')).lower()}", str(owner.get("name"))
        runs = part(item, "status").get("phase") not in _ENDED
        statuses = _statuses(part(item, "status"), what)
        started = _time(part(item, "status").get("startTime"))
    else:
        runs, statuses, started = False, {}, None
    for container, image in _images(spec, what):
        named = f"{cluster}/{namespace}/{name}/{container}"
        if len(image) <= LONGEST:
            found = _of_container(kind, named, image, registry, statuses.get(container, {}), started)
            yield from found if runs else map(only_named, found)


def _of_container(
    kind: str, name: str, image: str, registry: EcrRegistry, status: Item, started: datetime | None
) -> Iterator[Use]:
    """The image that a container runs by its status, and the image in its spec, which a restart uses.

    A tag that the status resolves to a digest of the same repository counts with its digest of now; any other tag also
    with its digests at the times when the pod and the container started.
    """
    address, digest = _resolved(status)
    if digest is not None:
        yield use(kind, name, address, registry, digest)
    moments: list[datetime | None] = []
    if digest is None or address.partition("@")[0] != _without_tag(image):
        running = part(part(status, "state"), "running")
        moments = [moment for moment in (started, _time(running.get("startedAt"))) if moment]
    for moment in moments or [None]:
        found = use(kind, name, image, registry, since=moment)
        yield found if moment or digest in (None, found.digest) else only_named(found)
    other = status.get("image")
    if (
        isinstance(other, str)
        and len(other) <= LONGEST
        and not other.startswith("sha256:")
        and other not in ("", image)
    ):
        found = use(kind, name, other, registry)
        yield found if digest is None else only_named(found)


def _resolved(status: Item) -> tuple[str, Digest | None]:
    """Address and digest of `imageID`: `docker-pullable://HOST/NAME@sha256:…` or `HOST/NAME@sha256:…`. The digest is
    None for `sha256:…` and `docker://sha256:…`, which are digests of the configuration, not of the manifest."""
    text = status.get("imageID")
    if not isinstance(text, str) or len(text) > LONGEST:
        return "", None
    address = text.removeprefix("docker-pullable://")
    name, _, digest = address.rpartition("@")
    try:
        return (address, Digest.parse(digest)) if name else ("", None)
    except BadName:
        return "", None


def _without_tag(image: str) -> str:
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return head + slash + last.partition(":")[0]


def _images(spec: Item, what: str) -> Iterator[tuple[str, str]]:
    """(container, image) for each container of a pod's spec, and for each volume that is an image."""
    if not isinstance(spec.get("containers"), list):
        raise Unreachable(f"{what}: the answer does not name its containers")
    for key in _CONTAINERS:
        for container in _list(spec, key, what):
            image = container.get("image")
            if not isinstance(image, str) or not image:
                raise Unreachable(f"{what}: the answer does not name the image of a container")
            yield str(container.get("name", "")), image
    for volume in _list(spec, "volumes", what):
        reference = part(volume, "image").get("reference")
        if isinstance(reference, str) and reference:
            yield f"volume {volume.get('name', '')}", reference


def _statuses(status: Item, what: str) -> dict[str, Item]:
    return {str(each.get("name", "")): each for key in _STATUSES for each in _list(status, key, what)}


def _owner(metadata: Item, what: str) -> Item:
    """The owner that controls the object; empty where there is none."""
    return next((owner for owner in _list(metadata, "ownerReferences", what) if owner.get("controller") is True), {})


def _list(item: Item, key: str, what: str) -> list[Item]:
    """The objects under a key; empty where it is missing or null. Raises Unreachable where it holds anything else."""
    found = item.get(key)
    if not isinstance(found, list | None) or not all(isinstance(each, Mapping) for each in found or []):
        raise Unreachable(f"{what}: '{key}' is not in the form of Kubernetes's API")
    return found or []


def _time(text: object) -> datetime | None:
    try:
        return parse_time(text) if isinstance(text, str) else None
    except BadInput:
        return None
