"""Builders for tests: real bytes of images and indexes, ECR's events, SQS batches, facts.

    app = image("app-1")                         # one platform: gzip'd tar layer, configuration, manifest
    both = index(image("a", architecture="amd64"), image("b", architecture="arm64"))
    both.digest; both.manifests; both.blobs      # everything beneath it, by digest
    sqs_batch(push_event(DEV, both.digest, "v1"))  # what Lambda passes to a function

Everything is deterministic: the same arguments give the same bytes.
"""

import base64
import gzip
import hashlib
import io
import json
import random
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images.manifest import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    Manifest,
    Platform,
)
from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.domain.times import format_time

DEV = Repository.parse("111111111111/us-east-2/rocketseat/widget-server")
PROD = Repository.parse("222222222222/us-east-2/rocketseat/widget-server")
PROD_SA = Repository.parse("222222222222/sa-east-1/rocketseat/widget-server")
NOON = datetime(2026, 11, 16, 12, 0, 0, tzinfo=UTC)

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SBOM = "application/spdx+json"


@dataclass(frozen=True)
class Layer:
    """A blob that a manifest names; `diff_id` is the digest before compression."""

    raw: bytes = field(repr=False)
    media_type: str
    diff_id: Digest
    urls: tuple[str, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def digest(self) -> Digest:
        return Digest.of(self.raw)


@dataclass(frozen=True)
class Built:
    """An image, index or referrer with everything beneath it. `manifests` is bottom-up: the root is last."""

    root: Manifest
    manifests: Mapping[Digest, Manifest]
    blobs: Mapping[Digest, bytes] = field(repr=False)
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> Digest:
        return self.root.digest

    @property
    def media_type(self) -> str:
        return self.root.media_type

    @property
    def raw(self) -> bytes:
        return self.root.raw

    def descriptor(self) -> dict[str, Any]:
        """Its descriptor in an index: with its platform, and for an attestation the image that it describes."""
        found = descriptor(self.raw, self.media_type)
        if self.platform:
            found["platform"] = _platform(self.platform)
        if self.annotations:
            found["annotations"] = dict(self.annotations)
        return found


def layer(content: str | bytes | Mapping[str, bytes] = "hello", *, docker: bool = False) -> Layer:
    """A gzip'd tar of these files, or of one file `content`."""
    files = content if isinstance(content, Mapping) else {"content": _bytes(content)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(data), 0, 0o755
            tar.addfile(member, io.BytesIO(data))
    tarred = buffer.getvalue()
    return Layer(gzip.compress(tarred, mtime=0), DOCKER_LAYER if docker else OCI_LAYER, Digest.of(tarred))


def big_layer(size: int, seed: int = 0) -> Layer:
    """A layer of about `size` compressed bytes of incompressible data."""
    return layer(random.Random(seed).randbytes(size))


def foreign_layer(content: str = "windows", url: str = "https://example.invalid/base") -> Layer:
    """A layer that registries need not store."""
    made = layer(content)
    return Layer(made.raw, "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", made.diff_id, (url,))


def descriptor(raw: bytes, media_type: str) -> dict[str, Any]:
    """A descriptor of these bytes, as JSON data."""
    return {"mediaType": media_type, "digest": str(Digest.of(raw)), "size": len(raw)}


def manifest_of(document: Mapping[str, Any]) -> Manifest:
    """A document as a manifest, unchecked, so that it may be invalid."""
    return Manifest(_json(document), str(document.get("mediaType", OCI_MANIFEST)))


def image(  # noqa: PLR0913 - the parts of an image that tests vary, with defaults
    *layers: Layer | str,
    os: str = "linux",
    architecture: str = "amd64",
    variant: str | None = None,
    docker: bool = False,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    subject: Built | None = None,
    artifact_type: str | None = None,
    created: datetime = NOON,
) -> Built:
    """An image of one platform; a `str` is a layer of that content. Without layers: one layer `hello`."""
    made = [x if isinstance(x, Layer) else layer(x, docker=docker) for x in (layers or ("hello",))]
    platform = Platform(os, architecture, variant)
    config = {
        "created": format_time(created),
        **_platform(platform),
        "config": {"Cmd": ["/app"], **({"Labels": dict(labels)} if labels else {})},
        "rootfs": {"type": "layers", "diff_ids": [str(x.diff_id) for x in made]},
        "history": [{"created": format_time(created), "created_by": "COPY app /app"} for _ in made],
    }
    return _artifact(
        _json(config),
        DOCKER_CONFIG if docker else OCI_CONFIG,
        made,
        media_type=DOCKER_MANIFEST if docker else OCI_MANIFEST,
        annotations=annotations,
        subject=subject,
        artifact_type=artifact_type,
        platform=platform,
    )


def index(
    *children: Built,
    docker: bool = False,
    annotations: Mapping[str, str] | None = None,
    subject: Built | None = None,
    platform: Platform | None = None,
) -> Built:
    """An index of images, attestations or other indexes, in this order."""
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": DOCKER_LIST if docker else OCI_INDEX,
        "manifests": [child.descriptor() for child in children],
    }
    if subject:
        document["subject"] = descriptor(subject.raw, subject.media_type)
    if annotations:
        document["annotations"] = dict(annotations)
    root = manifest_of(document)
    manifests = {d: m for child in children for d, m in child.manifests.items()}
    blobs = {d: b for child in children for d, b in child.blobs.items()}
    return Built(root, {**manifests, root.digest: root}, blobs, platform)


def attestation(of: Built, content: str = "provenance") -> Built:
    """The attestation that buildx adds for an image of an index: an image for `unknown/unknown` with in-toto
    statements."""
    statement = Layer(
        _bytes(json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": str(of.digest), "p": content})),
        IN_TOTO,
        Digest.of(content.encode()),
        annotations={"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
    )
    made = image(statement, os="unknown", architecture="unknown")
    notes = {
        "vnd.docker.reference.digest": str(of.digest),
        "vnd.docker.reference.type": "attestation-manifest",
    }
    return Built(made.root, made.manifests, made.blobs, made.platform, notes)


def multi_arch(content: str = "app", *, attested: bool = False, docker: bool = False) -> Built:
    """An index for linux/amd64 and linux/arm64 that share a base layer; `attested`: with attestations, as buildx pushes
    it."""
    base = layer(f"base of {content}", docker=docker)
    images = [
        image(base, layer(f"{content} for {a}", docker=docker), architecture=a, docker=docker)
        for a in ("amd64", "arm64")
    ]
    return index(*images, *(attestation(x) for x in images if attested), docker=docker)


def signature(of: Built, content: str = "signature") -> Built:
    """A referrer with a signature's artifact type."""
    return referrer(of, SIGNATURE, content)


def sbom(of: Built, content: str = "sbom") -> Built:
    """A referrer with an SBOM's artifact type."""
    return referrer(of, SBOM, content)


def referrer(
    of: Built, artifact_type: str, content: str | bytes = "content", annotations: Mapping[str, str] | None = None
) -> Built:
    """A referrer as OCI 1.1 defines it: empty configuration, one blob, subject, artifact type."""
    raw = _bytes(content)
    blob = Layer(raw, artifact_type, Digest.of(raw))
    return _artifact(b"{}", EMPTY_TYPE, [blob], subject=of, artifact_type=artifact_type, annotations=annotations)


def signed_by_notation(of: Built, kind: str, envelope: bytes) -> Built:
    """A signature as Notation pushes it: an artifact whose layer is the envelope, of the media type `kind`."""
    blob = Layer(envelope, kind, Digest.of(envelope))
    return _artifact(b"{}", EMPTY_TYPE, [blob], subject=of, artifact_type="application/vnd.cncf.notary.signature")


def cosign(payload: bytes, annotations: Mapping[str, str]) -> Built:
    """A signature as cosign stores it under its tag `sha256-<hex>.sig`: an image whose layer is the payload."""
    made = Layer(
        payload, "application/vnd.dev.cosign.simplesigning.v1+json", Digest.of(payload), annotations=annotations
    )
    return _artifact(b"{}", "application/vnd.oci.image.config.v1+json", [made])


def _artifact(  # noqa: PLR0913 - the parts of a referrer that tests vary, with defaults
    config: bytes,
    config_type: str,
    layers: Sequence[Layer],
    *,
    media_type: str = OCI_MANIFEST,
    annotations: Mapping[str, str] | None = None,
    subject: Built | None = None,
    artifact_type: str | None = None,
    platform: Platform | None = None,
) -> Built:
    document: dict[str, Any] = {"schemaVersion": 2, "mediaType": media_type}
    if artifact_type:
        document["artifactType"] = artifact_type
    document["config"] = descriptor(config, config_type)
    document["layers"] = [
        descriptor(x.raw, x.media_type)
        | ({"urls": list(x.urls)} if x.urls else {})
        | ({"annotations": dict(x.annotations)} if x.annotations else {})
        for x in layers
    ]
    if subject:
        document["subject"] = descriptor(subject.raw, subject.media_type)
    if annotations:
        document["annotations"] = dict(annotations)
    root = manifest_of(document)
    blobs = {Digest.of(config): config, **{x.digest: x.raw for x in layers if not x.urls}}
    return Built(root, {root.digest: root}, blobs, platform)


# --- events ------------------------------------------------------------------------------------------


def event(  # noqa: PLR0913 - the fields of an event that tests vary, with defaults
    detail_type: str,
    detail: Mapping[str, Any],
    registry: EcrRegistry = DEV.registry,
    *,
    source: str = "aws.ecr",
    at: datetime = NOON,
    id: str | None = None,
    resources: Sequence[str] = (),
) -> dict[str, Any]:
    """EventBridge's envelope; whole seconds, as in ECR's events. The id is derived from the rest unless given."""
    body: dict[str, Any] = {
        "version": "0",
        "id": "",
        "detail-type": detail_type,
        "source": source,
        "account": registry.account,
        "time": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": registry.region,
        "resources": list(resources),
        "detail": dict(detail),
    }
    body["id"] = id or _uuid(json.dumps(body, sort_keys=True))
    return body


def push_event(  # noqa: PLR0913 - the fields of an event that tests vary, with defaults
    repository: Repository = DEV,
    digest: str = "sha256:" + "0" * 64,
    tag: str | None = "v1.0.0",
    *,
    media_type: str | None = OCI_MANIFEST,
    artifact_type: str | None = OCI_CONFIG,
    result: str = "SUCCESS",
    action: str = "PUSH",
    detail_type: str = "ECR Image Action",
    at: datetime = NOON,
    id: str | None = None,
) -> dict[str, Any]:
    """A push; `tag` "": as ECR reports a push by digest, None: without the key."""
    detail = {
        "result": result,
        "repository-name": repository.name,
        "image-digest": str(digest),
        "action-type": action,
        "image-tag": tag,
        "manifest-media-type": media_type,
        "artifact-media-type": artifact_type,
    }
    known = {k: v for k, v in detail.items() if v is not None}
    return event(detail_type, known, repository.registry, at=at, id=id)


def delete_event(repository: Repository, digest: str, tag: str | None = None, **more: Any) -> dict[str, Any]:
    """A deletion of a tag, or of an image."""
    return push_event(repository, digest, tag, action="DELETE", **more)


def referrer_event(repository: Repository, digest: str, artifact_type: str = SIGNATURE, **more: Any) -> dict[str, Any]:
    """A push of a signature, SBOM or attestation."""
    return push_event(repository, digest, None, artifact_type=artifact_type, detail_type="ECR Referrer Action", **more)


def storage_event(repository: Repository, digest: str, target: str = "ARCHIVE", **more: Any) -> dict[str, Any]:
    """An image was archived, or restored (`target` STANDARD)."""
    made = push_event(repository, digest, None, action="UPDATE_STORAGE_CLASS", **more)
    made["detail"] |= {"target-storage-class": target}
    if target == "STANDARD":
        made["detail"] |= {"last-activated-at": made["time"]}
    return made


def replication_event(
    repository: Repository, digest: str, tag: str, origin: EcrRegistry = DEV.registry, *, at: datetime = NOON
) -> dict[str, Any]:
    """Native replication has copied an image to `repository`; sent at the destination, not at the source."""
    detail = {
        "result": "SUCCESS",
        "repository-name": repository.name,
        "image-digest": str(digest),
        "source-account": origin.account,
        "action-type": "REPLICATE",
        "source-region": origin.region,
        "image-tag": tag,
    }
    return event("ECR Replication Action", detail, repository.registry, at=at, resources=[repository.arn])


def scan_event(
    repository: Repository,
    digest: str,
    tags: Sequence[str] = (),
    counts: Mapping[str, int] | None = None,
    *,
    status: str = "COMPLETE",
    at: datetime = NOON,
) -> dict[str, Any]:
    """A basic scan has ended; `counts` by severity in capitals, only those above zero."""
    detail = {
        "scan-status": status,
        "repository-name": repository.name,
        "finding-severity-counts": dict(counts or {}),
        "image-digest": str(digest),
        "image-tags": list(tags),
    }
    return event("ECR Image Scan", detail, repository.registry, at=at, resources=[repository.arn])


def inspector_event(repository: Repository, digest: str, *, seen_by: str | None = None) -> dict[str, Any]:
    """An enhanced scan; `seen_by`: the account of the delegated administrator, which gets the event too."""
    detail = {
        "scan-status": "INITIAL_SCAN_COMPLETE",
        "repository-name": repository.arn,
        "finding-severity-counts": {"CRITICAL": 0, "HIGH": 0, "MEDIUM": 0, "TOTAL": 0},
        "image-digest": str(digest),
        "image-tags": [],
    }
    registry = EcrRegistry(seen_by or repository.registry.account, repository.registry.region)
    return event("Inspector2 Scan", detail, registry, source="aws.inspector2", at=NOON, resources=[repository.arn])


def api_call_event(
    repository: Repository,
    name: str = "PutImage",
    *,
    actor: str = "arn:aws:sts::111111111111:assumed-role/ci/build-1",
    request: Mapping[str, Any] | None = None,
    response: Mapping[str, Any] | None = None,
    at: datetime = NOON,
) -> dict[str, Any]:
    """A call that CloudTrail recorded."""
    registry = repository.registry
    detail = {
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "arn": actor, "accountId": registry.account},
        "eventTime": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "ecr.amazonaws.com",
        "eventName": name,
        "awsRegion": registry.region,
        "requestParameters": {
            "registryId": registry.account,
            "repositoryName": repository.name,
            **(request or {}),
        },
        "responseElements": dict(response or {}),
        "eventID": _uuid(f"{name}{repository}{at}{sorted((request or {}).items())}"),
        "readOnly": False,
        "resources": [{"accountId": registry.account, "ARN": repository.arn}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": registry.account,
        "eventCategory": "Management",
    }
    return event("AWS API Call via CloudTrail", detail, registry, at=at)


def sqs_record(
    body: Mapping[str, Any] | str,
    *,
    message_id: str | None = None,
    sender: str = "AROAEXAMPLEEXAMPLE:session",
    receives: int = 1,
    queue: str = "arn:aws:sqs:us-east-2:111111111111:tallyman-push",
    at: datetime = NOON,
) -> dict[str, Any]:
    """One message as Lambda gets it; a `str` is used unchanged, for invalid bodies."""
    text = body if isinstance(body, str) else json.dumps(body)
    message_id = message_id or _uuid(text)
    millis = str(int(at.timestamp() * 1000))
    return {
        "messageId": message_id,
        "receiptHandle": base64.b64encode(message_id.encode()).decode(),
        "body": text,
        "attributes": {
            "ApproximateReceiveCount": str(receives),
            "SentTimestamp": millis,
            "SenderId": sender,
            "ApproximateFirstReceiveTimestamp": millis,
        },
        "messageAttributes": {},
        "md5OfBody": hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue,
        "awsRegion": queue.split(":")[3],
    }


def sqs_batch(*bodies: Mapping[str, Any] | str, **more: Any) -> dict[str, Any]:
    """A batch as Lambda passes it to a function; every message has its own id, also with equal bodies."""
    records = [
        sqs_record(b, message_id=_uuid(f"{i}{b if isinstance(b, str) else json.dumps(b)}"), **more)
        for i, b in enumerate(bodies)
    ]
    return {"Records": records}


# --- facts -------------------------------------------------------------------------------------------


def fact(  # noqa: PLR0913 - the fields of a fact that tests vary, with defaults
    kind: Kind,
    digest: str | None = None,
    repository: Repository | None = None,
    tag: str | None = None,
    *,
    at: datetime = NOON,
    seen: datetime | None = None,
    via: Via = Via.EVENT,
    environment: str | None = None,
    id: str | None = None,
    media_type: str | None = None,
    size: int | None = None,
    actor: str | None = None,
    **detail: Any,
) -> Fact:
    """A fact; further arguments become its `detail`. The id is derived as for an event's entry."""
    return Fact(
        kind=kind,
        id=id
        or fact_id(kind, repository, tag, digest, at, environment, json.dumps(detail, sort_keys=True, default=str)),
        at=at,
        seen=seen or at,
        via=via,
        digest=Digest.parse(digest) if digest else None,
        repository=repository,
        tag=tag,
        environment=environment,
        media_type=media_type,
        size=size,
        actor=actor,
        detail=detail,
    )


def pushed(digest: str, tag: str | None = "v1.0.0", repository: Repository = DEV, **more: Any) -> Fact:
    """The push of a tag (None: by digest)."""
    return fact(Kind.PUSHED, digest, repository, tag, **more)


def verified(digest: str, verdict: str = "passed", repository: Repository = DEV, **more: Any) -> Fact:
    """A verification's result."""
    return fact(Kind.VERIFIED, digest, repository, **{"verdict": verdict, "level": "content", "checks": [], **more})


def scanned(
    digest: str,
    counts: Mapping[str, int] | None = None,
    repository: Repository = DEV,
    *,
    status: str = "complete",
    findings: Sequence[Mapping[str, Any]] = (),
    at: datetime = NOON,
    **more: Any,
) -> Fact:
    """A scan's result; `counts` by severity in lower case."""
    detail = {"status": status, "counts": dict(counts or {}), "findings": list(findings)}
    return fact(Kind.SCANNED, digest, repository, at=at, **{**detail, "completed_at": format_time(at), **more})


def child_of(child: str, parent: str, **more: Any) -> Fact:
    """The fact in the child's partition that names the index above."""
    return fact(Kind.CHILD_OF, child, DEV, **{"index": str(parent), **more})


def as_descriptor(built: Built) -> Descriptor:
    """The descriptor of a built image, as a value (a registry's referrers list contains these)."""
    root = built.root
    return Descriptor(root.media_type, root.digest, len(root.raw), built.platform, root.artifact_type, root.annotations)


def digest_of(text: str) -> Digest:
    """A digest, the same for the same text."""
    return Digest.of(text.encode())


def _platform(platform: Platform) -> dict[str, str]:
    found = {"architecture": platform.architecture, "os": platform.os}
    return found | ({"variant": platform.variant} if platform.variant else {})


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode()


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def _uuid(text: str) -> str:
    digits = hashlib.sha256(text.encode()).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:32]}"
