"""The adapters' results for registries that refuse, disconnect, lie or redirect."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import Message
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import DEV, PROD, digest_of, image
from support.servers.scripted import Reply, Scripted, oci, scripted
from tallyman.adapters.ecr.auth import EcrAuth
from tallyman.adapters.ecr.source import EcrSource
from tallyman.adapters.ecr.target import EcrTarget
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.http.pacing import Pace
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.auth import OciAuth
from tallyman.adapters.oci.client import RegistryClient
from tallyman.domain.locations import repository_at
from tallyman.domain.names import EcrRegistry
from tallyman.errors import (
    BadManifest,
    DigestMismatch,
    NotAllowed,
    NotFound,
    TagTaken,
    TallymanError,
    Throttled,
    TransientError,
    Unreachable,
    Unsupported,
)

SECRET = "QVdTOnNlY3JldA"  # in the format of a token
ROOT = image("app").root
RIGHT = digest_of("right")


@dataclass
class ScriptedRegistry:
    """A scripted registry, and the clients that point to it. Each token is different."""

    script: Scripted
    now: float = 1_000_000.0
    tokens: int = 0
    slept: list[float] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""

    def get(self, service: str, registry: EcrRegistry | None = None, power: str = "read") -> Any:
        return self

    def get_authorization_token(self) -> dict[str, Any]:
        self.tokens += 1
        ends = datetime.fromtimestamp(self.now, UTC) + timedelta(hours=12)
        token = {"authorizationToken": f"{SECRET}{self.tokens}", "proxyEndpoint": self.script.base, "expiresAt": ends}
        return {"authorizationData": [token]}

    def get_download_url_for_layer(self, **request: Any) -> dict[str, Any]:
        return {"downloadUrl": self.url or f"{self.script.base}/bucket/layer?X-Amz-Signature={SECRET}"}

    def batch_get_image(self, **request: Any) -> dict[str, Any]:
        return {"images": self.images, "failures": []}

    def target(self, attempts: int = 1) -> EcrTarget:
        clients: Any = self
        auth = EcrAuth(clients, clock=lambda: self.now)
        client = RegistryClient(HttpClient(), auth, attempts=attempts, longest=5, sleep=self.slept.append)
        return EcrTarget(clients, client, put_rate=0)

    def source(self) -> EcrSource:
        clients: Any = self
        return EcrSource(clients, HttpClient())

    def sent_tokens(self) -> list[str | None]:
        return [a.headers.get("Authorization") for a in self.script.asked]


@pytest.fixture
def ecr() -> Iterator[ScriptedRegistry]:
    with scripted() as script:
        yield ScriptedRegistry(script)


def accepted(ecr: ScriptedRegistry, path: str = "/v2/up/1?state=x") -> Reply:
    return Reply(202, headers={"Location": ecr.script.base + path})


def read(ecr: ScriptedRegistry, start: int = 0) -> bytes:
    with ecr.source().open_blob(DEV, RIGHT, start) as stream:
        return b"".join(stream)


# --- tokens


def test_an_expired_token_is_renewed_once_and_the_request_repeated(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(401, b"Not Authorized\n"), Reply(201)]
    ecr.target().put_manifest(DEV, ROOT, "v1")
    assert ecr.sent_tokens() == [f"Basic {SECRET}1", f"Basic {SECRET}2"]
    assert [a.body for a in ecr.script.asked] == [ROOT.raw] * 2


def test_a_403_can_mean_an_expired_token(ecr: ScriptedRegistry) -> None:
    expired = "Your authorization token has expired. Reauthenticate and try again."
    ecr.script.replies += [oci(403, "DENIED", expired), Reply(201)]
    ecr.target().put_manifest(DEV, ROOT, "v1")
    assert ecr.tokens == 2


def test_a_renewed_token_that_is_refused_too_is_no_permission(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(401, b"Not Authorized\n")] * 2
    with pytest.raises(NotAllowed, match=r"us-east-2/rocketseat/widget-server:v1.*Not Authorized"):
        ecr.target().put_manifest(DEV, ROOT, "v1")
    assert len(ecr.script.asked) == 2


def test_one_token_serves_a_registry_and_is_renewed_before_its_credentials_end(ecr: ScriptedRegistry) -> None:
    target = ecr.target()
    ecr.script.default = Reply(201)
    for _ in range(3):
        target.put_manifest(DEV, ROOT)
    assert ecr.tokens == 1
    target.put_manifest(PROD, ROOT)
    assert ecr.tokens == 2
    ecr.now += 601
    target.put_manifest(DEV, ROOT)
    assert ecr.tokens == 3


def test_missing_permission_is_permanent_and_names_caller_action_and_registry(ecr: ScriptedRegistry) -> None:
    words = (
        "User: arn:aws:iam::111111111111:role/x is not authorized to perform: ecr:PutImage on resource: "
        "arn:aws:ecr:us-east-2:111111111111:repository/rocketseat/widget-server because no identity-based policy "
        "allows the ecr:PutImage action"
    )
    ecr.script.replies += [oci(403, "DENIED", words)]
    with pytest.raises(NotAllowed, match="ecr:PutImage on resource") as caught:
        ecr.target(attempts=4).put_manifest(DEV, ROOT, "v1")
    assert not caught.value.retryable
    assert len(ecr.script.asked) == 1


def test_no_message_log_or_representation_contains_the_token(
    ecr: ScriptedRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    ecr.script.replies += [Reply(401, b"no"), Reply(401, b"no")]
    with caplog.at_level(logging.DEBUG), pytest.raises(NotAllowed) as caught:
        ecr.target().put_manifest(DEV, ROOT, "v1")
    target = ecr.target()
    ecr.script.default = Reply(201)
    target.put_manifest(DEV, ROOT)
    auth: Any = target._writer._client._auth
    tokens = auth._tokens
    assert len(tokens) == 1
    ecr.script.replies += [Reply(200, b"right")]
    with caplog.at_level(logging.DEBUG):
        read(ecr)
    texts = [str(caught.value), repr(caught.value), repr(tokens), caplog.text]
    assert not [t for t in texts if SECRET in t]


def test_no_message_contains_a_presigned_url(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(403, b"<Error><Code>AccessDenied</Code></Error>")]
    with pytest.raises(NotAllowed) as caught:
        read(ecr)
    ecr.url = f"http://127.0.0.1:1/layer?X-Amz-Signature={SECRET}"
    with pytest.raises(Unreachable) as broken:
        read(ecr)
    for error in (caught.value, broken.value):
        assert SECRET not in f"{error} {error!r}"


# --- throttling and server errors


def test_a_throttling_error_has_the_time_to_wait(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [oci(429, "TOOMANYREQUESTS", "Rate exceeded", Retry_After="7")]
    with pytest.raises(Throttled, match="Rate exceeded") as caught:
        ecr.target(attempts=4).put_manifest(DEV, ROOT, "v1")
    assert caught.value.after == 7
    assert ecr.slept == []


def test_a_short_retry_after_is_waited_for(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [oci(429, "TOOMANYREQUESTS", "Rate exceeded", Retry_After="2"), Reply(201)]
    ecr.target(attempts=2).put_manifest(DEV, ROOT, "v1")
    [pause] = ecr.slept
    assert 2 <= pause <= 2.25  # plus a random part for each client


def test_server_errors_are_tried_again_a_few_times(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(503, b"busy"), Reply(500), Reply(201)]
    ecr.target(attempts=3).put_manifest(DEV, ROOT, "v1")
    assert len(ecr.slept) == 2
    ecr.script.default = Reply(503, b"busy")
    with pytest.raises(Unreachable, match=r"busy \(503\)"):
        ecr.target(attempts=3).put_manifest(DEV, ROOT, "v1")
    assert len(ecr.script.asked) == 6


def test_a_broken_connection_is_tried_again(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(201, b"x", length=5, reset=True), Reply(201)]
    ecr.target(attempts=2).put_manifest(DEV, ROOT, "v1")
    ecr.script.replies += [Reply(201, b"x", length=5, reset=True)]
    with pytest.raises(Unreachable):
        ecr.target(attempts=1).put_manifest(DEV, ROOT, "v1")


def test_a_refused_connection_is_unreachable(ecr: ScriptedRegistry) -> None:
    ecr.url = "http://127.0.0.1:1/layer"
    with pytest.raises(Unreachable, match="rocketseat/widget-server"):
        read(ecr)


# --- refusals of manifests


@pytest.mark.parametrize(
    ("reply", "expected", "retryable"),
    [
        (oci(405, "UNSUPPORTED", "Invalid parameter at 'ImageManifest'"), Unsupported, False),
        (Reply(405, b"Method Not Allowed"), Unsupported, False),
        (oci(404, "NAME_UNKNOWN", "The repository with name 'x' does not exist"), NotFound, False),
        (oci(400, "MANIFEST_INVALID", "Manifest is malformed"), BadManifest, False),
        (
            oci(400, "MANIFEST_INVALID", "The image with digest 'a' does not match the image digest that ECR has"),
            DigestMismatch,
            False,
        ),
        (
            oci(404, "MANIFEST_BLOB_UNKNOWN", "Images with digests '[sha256:1]' required do not exist"),
            TransientError,
            True,
        ),
        (oci(400, "SOMETHING_NEW", "no"), TallymanError, False),
        (Reply(302, headers={"Location": "http://elsewhere.invalid/"}), Unreachable, True),
    ],
)
def test_each_refusal_of_a_manifest_has_its_own_error(
    ecr: ScriptedRegistry, reply: Reply, expected: type[TallymanError], retryable: bool
) -> None:
    ecr.script.replies += [reply]
    with pytest.raises(expected, match="rocketseat/widget-server:v1") as caught:
        ecr.target().put_manifest(DEV, ROOT, "v1")
    assert caught.value.retryable is retryable
    assert len(ecr.script.asked) == 1


TAKEN = oci(
    400,
    "TAG_INVALID",
    "The image tag 'v1' already exists in the 'x' repository and cannot be overwritten because the tag is immutable.",
)


def test_a_taken_tag_of_the_same_image_is_success(ecr: ScriptedRegistry) -> None:
    ecr.images = [{"imageManifest": ROOT.raw.decode(), "imageManifestMediaType": ROOT.media_type}]
    ecr.script.replies += [TAKEN]
    ecr.target().put_manifest(DEV, ROOT, "v1")
    assert len(ecr.script.asked) == 1


def test_a_taken_tag_of_another_image_is_a_conflict(ecr: ScriptedRegistry) -> None:
    other = image("other").root
    ecr.images = [{"imageManifest": other.raw.decode(), "imageManifestMediaType": other.media_type}]
    ecr.script.replies += [TAKEN]
    with pytest.raises(TagTaken, match="immutable"):
        ecr.target().put_manifest(DEV, ROOT, "v1")


def test_a_taken_tag_that_has_meanwhile_disappeared_is_a_transient_error(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [TAKEN]
    with pytest.raises(TransientError):
        ecr.target().put_manifest(DEV, ROOT, "v1")


def test_an_answer_with_another_digest_for_the_manifest_is_an_error(ecr: ScriptedRegistry) -> None:
    ecr.script.then(201, Docker_Content_Digest=RIGHT)
    with pytest.raises(DigestMismatch):
        ecr.target().put_manifest(DEV, ROOT)


# --- uploads


def test_an_upload_is_one_post_and_one_put_of_known_length(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [accepted(ecr), Reply(201)]
    ecr.target().upload(DEV, RIGHT, 5, iter([b"ri", b"ght"]))
    post, put = ecr.script.asked
    assert (post.method, post.path) == ("POST", "/v2/rocketseat/widget-server/blobs/uploads/")
    assert (put.method, put.path) == ("PUT", f"/v2/up/1?state=x&digest={RIGHT.replace(':', '%3A')}")
    assert (put.headers["Content-Length"], put.body) == ("5", b"right")


def test_an_upload_goes_to_no_other_host(ecr: ScriptedRegistry) -> None:
    with scripted() as elsewhere:
        ecr.script.replies += [Reply(202, headers={"Location": f"{elsewhere.base}/v2/up/1"})]
        with pytest.raises(Unreachable, match="not at the registry"):
            ecr.target().upload(DEV, RIGHT, 5, [b"right"])
        ecr.script.replies += [Reply(307, headers={"Location": f"{elsewhere.base}/v2/up/1"})]
        with pytest.raises(Unreachable, match="redirect"):
            ecr.target().upload(DEV, RIGHT, 5, [b"right"])
        assert elsewhere.asked == []


@pytest.mark.parametrize("location", ["http://[x", "//[", "http://localhost:99999/v2/up/1"])
def test_an_upload_to_an_invalid_address_is_refused(ecr: ScriptedRegistry, location: str) -> None:
    ecr.script.replies += [Reply(202, headers={"Location": location})]
    with pytest.raises(Unreachable, match="not at the registry"):
        ecr.target().upload(DEV, RIGHT, 5, [b"right"])


def test_a_location_without_tls_and_path_belongs_to_the_registry() -> None:
    """Behind a proxy that terminates TLS. Regression: the path was found by its slash."""
    client = RegistryClient(HttpClient(), OciAuth(HttpClient(), lambda place: None, power="pull,push"))
    place = repository_at("registry.test", "app")
    headers = Message()
    headers["Location"] = "http://registry.test"
    answer = Answer(202, headers, b"", "https://registry.test/v2/app/blobs/uploads/")
    assert client.location(place, answer, "upload") == "https://registry.test/"


def test_a_relative_location_belongs_to_the_registry(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(202, headers={"Location": "/v2/up/7"}), Reply(201)]
    ecr.target().upload(DEV, RIGHT, 5, [b"right"])
    assert ecr.script.asked[1].path.startswith("/v2/up/7?digest=")


def test_an_upload_without_location_is_a_transient_error(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(202)]
    with pytest.raises(Unreachable, match="location"):
        ecr.target().upload(DEV, RIGHT, 5, [b"right"])


@pytest.mark.parametrize("size", [10_000_000, None])
def test_an_upload_with_a_failing_source_is_never_completed(ecr: ScriptedRegistry, size: int | None) -> None:
    def chunks() -> Iterable[bytes]:
        yield b"x" * 1_000_000
        raise OSError("the source's own socket")

    ecr.script.replies += [accepted(ecr), Reply(201)]
    with pytest.raises(OSError, match="own socket"):
        ecr.target().upload(DEV, RIGHT, size, chunks())
    ecr.script.saw(lambda s: len(s.asked) == 2)
    assert ecr.script.asked[1].complete is False


def test_a_crash_during_an_upload_closes_its_connection(ecr: ScriptedRegistry) -> None:
    def chunks() -> Iterable[bytes]:
        yield b"x" * 1_000_000
        raise KeyboardInterrupt

    ecr.script.replies += [accepted(ecr), Reply(201)]
    with pytest.raises(KeyboardInterrupt):
        ecr.target().upload(DEV, RIGHT, None, chunks())
    ecr.script.saw(lambda s: len(s.asked) == 2)
    assert ecr.script.asked[1].complete is False


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (oci(400, "DIGEST_INVALID", "The layer digest is not the one given"), DigestMismatch),
        (oci(404, "BLOB_UPLOAD_UNKNOWN", "no such upload"), Unreachable),
        (oci(416, "BLOB_UPLOAD_INVALID", "First byte of the layer part is 0 instead of 5"), Unreachable),
        (oci(429, "TOOMANYREQUESTS", "Rate exceeded"), Throttled),
        (oci(403, "DENIED", "not authorized to perform: ecr:UploadLayerPart"), NotAllowed),
        (oci(403, "DENIED", "Your authorization token has expired."), Unreachable),
        (Reply(401, b"Not Authorized\n"), Unreachable),
        (Reply(500, b"oops"), Unreachable),
        (Reply(201, b"x", length=9, reset=True), Unreachable),
    ],
)
def test_each_refused_upload_has_its_own_error(ecr: ScriptedRegistry, reply: Reply, expected: type) -> None:
    ecr.script.replies += [accepted(ecr), reply]
    with pytest.raises(expected, match="upload sha256:"):
        ecr.target().upload(DEV, RIGHT, 5, [b"right"])


def test_an_upload_that_is_refused_early_has_the_reason(ecr: ScriptedRegistry) -> None:
    denied = oci(403, "DENIED", "not authorized to perform: ecr:UploadLayerPart")
    ecr.script.replies += [accepted(ecr), Reply(denied.status, denied.body, denied.headers, deaf=True)]
    with pytest.raises((NotAllowed, Unreachable)):  # the socket's reset may arrive before the answer
        ecr.target().upload(DEV, RIGHT, 50_000_000, (b"x" * 1_000_000 for _ in range(50)))


def test_an_upload_opened_by_a_failed_mount_is_used(ecr: ScriptedRegistry) -> None:
    target = ecr.target()
    ecr.script.replies += [accepted(ecr), Reply(201)]
    assert target.mount(DEV, RIGHT, "team/base") is False
    target.upload(DEV, RIGHT, 5, [b"right"])
    assert [a.method for a in ecr.script.asked] == ["POST", "PUT"]
    assert f"mount={RIGHT.replace(':', '%3A')}&from=team%2Fbase" in ecr.script.asked[0].path


# --- reading blobs


def test_a_blob_is_requested_without_credentials(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(200, b"right")]
    assert read(ecr) == b"right"
    assert ecr.sent_tokens() == [None]


def test_a_redirect_of_a_blob_is_not_followed(ecr: ScriptedRegistry) -> None:
    with scripted() as elsewhere:
        ecr.script.replies += [Reply(307, headers={"Location": f"{elsewhere.base}/stolen"})]
        with pytest.raises(Unreachable, match="307"):
            read(ecr)
        assert elsewhere.asked == []


@pytest.mark.parametrize("reset", [False, True])
def test_a_body_that_ends_early_is_unreachable_not_the_end(ecr: ScriptedRegistry, reset: bool) -> None:
    ecr.script.replies += [Reply(200, b"rig", length=5, reset=reset)]
    with pytest.raises(Unreachable):
        read(ecr)


def test_a_body_ends_at_its_declared_length(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(200, b"right and more", length=5)]
    assert read(ecr) == b"right"


def test_a_body_of_unknown_length_has_no_size(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(200, b"right", length=-1, headers={"Connection": "close"})]
    with ecr.source().open_blob(DEV, RIGHT) as stream:
        assert stream.size is None
        assert b"".join(stream) == b"right"


def test_content_encoding_is_not_decoded(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(200, b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip"})]
    assert read(ecr) == b"\x1f\x8bnot really"
    assert ecr.script.asked[0].headers["Accept-Encoding"] == "identity"


def test_reading_can_start_at_any_byte(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(206, b"ght", {"Content-Range": "bytes 2-4/5"})]
    with ecr.source().open_blob(DEV, RIGHT, 2) as stream:
        assert (stream.size, b"".join(stream)) == (5, b"ght")
    assert ecr.script.asked[0].headers["Range"] == "bytes=2-"


def test_storage_without_ranges_is_read_from_the_start(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(200, b"right")]
    with ecr.source().open_blob(DEV, RIGHT, 2) as stream:
        assert (stream.size, b"".join(stream)) == (5, b"ght")


def test_another_range_than_requested_is_refused(ecr: ScriptedRegistry) -> None:
    ecr.script.replies += [Reply(206, b"right", {"Content-Range": "bytes 0-4/5"})]
    with pytest.raises(Unreachable, match="another part"):
        read(ecr, 2)


@pytest.mark.parametrize(
    ("status", "expected"),
    [(403, NotAllowed), (404, NotFound), (416, Unreachable), (500, Unreachable), (503, Throttled)],
)
def test_each_refusal_of_a_blob_has_its_own_error(ecr: ScriptedRegistry, status: int, expected: type) -> None:
    ecr.script.replies += [Reply(status, b"no")]
    with pytest.raises(expected, match="read the blob sha256:"):
        read(ecr)


def test_each_failure_to_get_a_blobs_url_has_its_own_error(ecr: ScriptedRegistry) -> None:
    def refuse(**request: Any) -> dict[str, Any]:
        body = {"Error": {"Code": "LayersNotFoundException", "Message": "The layer does not exist"}}
        raise ClientError(body, "GetDownloadUrlForLayer")  # type: ignore[arg-type]

    ecr.get_download_url_for_layer = refuse  # type: ignore[method-assign]
    with pytest.raises(NotFound, match="rocketseat/widget-server"):
        read(ecr)


def test_a_slow_receiver_has_more_time_than_the_connect_timeout(
    ecr: ScriptedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, limits = ecr.target(), list[tuple[str, float | None]]()
    http: Any = target._writer._client._http
    opened = http.open

    def watched(method: str, url: str, **more: Any) -> Any:
        limits.append((method, more["read"]))
        return opened(method, url, **more)

    monkeypatch.setattr(http, "open", watched)
    ecr.script.replies += [accepted(ecr), Reply(201)]
    target.upload(DEV, RIGHT, 5, [b"right"])
    assert limits == [("POST", 60.0), ("PUT", 120.0)]


# --- pacing


def test_manifests_are_put_within_the_rate_limit() -> None:
    now, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    pace = Pace(5, burst=2, clock=lambda: now[0], sleep=sleep)
    for _ in range(12):
        pace.wait()
    assert now[0] == pytest.approx(2.0)
    now[0] += 100  # a pause saves up no more than the burst
    for _ in range(3):
        pace.wait()
    assert now[0] == pytest.approx(102.2)


def test_a_rate_of_zero_never_waits() -> None:
    assert Pace(0, sleep=lambda _: pytest.fail("waited")).wait() == 0
