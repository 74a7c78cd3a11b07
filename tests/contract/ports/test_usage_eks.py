"""Images that EKS clusters run: from a Kubernetes API over TLS whose answers have the format of Kubernetes's API
reference."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from support.servers.kubernetes import Answer, KubernetesServer, kubernetes, status
from support.servers.secured import certify
from support.servers.serving import serving
from tallyman.adapters.usage import eks, workloads
from tallyman.adapters.usage import kubernetes as api
from tallyman.adapters.usage.eks import EksClusters
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import UsageRules
from tallyman.domain.retention import Reading
from tallyman.domain.usage import Use

PROD = EcrRegistry("222222222222", "sa-east-1")
HOST = "222222222222.dkr.ecr.sa-east-1.amazonaws.com/rocketseat/widget-server"
ONE, TWO, THREE, CONFIG = ("sha256:" + letter * 64 for letter in "abcd")
NOW = datetime(2026, 11, 16, tzinfo=UTC)
EVERYTHING = UsageRules()
ROLE = "arn:aws:iam::222222222222:role/tallyman-spoke-read"
SESSION = botocore.session.get_session()  # its models are read once
PODS = "/api/v1/pods"
REPLICA_SETS = "/apis/apps/v1/replicasets"


class FakeAws:
    """`Clients` with EKS and STS stubbed; STS signs as usual."""

    def __init__(self, *clusters: dict[str, Any], ignored: str = "") -> None:
        """`ignored`: a cluster that is listed and must not be described."""
        keys: dict[str, Any] = {
            "aws_access_key_id": "AKID",
            "aws_secret_access_key": "secret",
            "aws_session_token": "t",
        }
        self.made = {name: SESSION.create_client(name, region_name="sa-east-1", **keys) for name in ("eks", "sts")}
        self.stubs = {name: Stubber(client) for name, client in self.made.items()}
        for stub in self.stubs.values():
            stub.activate()
        if clusters:
            names = [str(cluster["name"]) for cluster in clusters] + [ignored] * bool(ignored)
            self.stubs["eks"].add_response("list_clusters", {"clusters": names})
            for cluster in clusters:
                self.stubs["eks"].add_response("describe_cluster", {"cluster": cluster}, {"name": cluster["name"]})

    def get(self, service: str, registry: EcrRegistry, power: str = "read") -> Any:
        assert registry == PROD
        return self.made[service]

    def caller(self) -> "FakeAws":
        """Let STS report the caller once."""
        arn = "arn:aws:sts::222222222222:assumed-role/tallyman-spoke-read/tallyman-apply-retention"
        self.stubs["sts"].add_response("get_caller_identity", {"Arn": arn, "Account": PROD.account, "UserId": "A:b"})
        return self


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KubernetesServer]:
    with kubernetes(tmp_path_factory.mktemp("cluster")) as server:
        yield server


@pytest.fixture
def shop(served: KubernetesServer) -> KubernetesServer:
    served.most = 500
    for kept in (served.objects, served.answers, served.asked, served.tokens):
        kept.clear()
    return served


def readings(aws: FakeAws, rules: UsageRules = EVERYTHING) -> dict[str, Reading]:
    found = EksClusters(aws, lambda seconds: None).readings(PROD, NOW, rules)  # type: ignore[arg-type]
    return {reading.source: reading for reading in found}


def running(shop: KubernetesServer) -> list[Use]:
    found = readings(FakeAws(shop.described))["EKS cluster shop"]
    assert found.error is None, found.error
    return list(found.uses)


def refused(shop: KubernetesServer, aws: FakeAws | None = None) -> str:
    """The reason why the cluster can't be read. No error contains the token."""
    error = readings(aws or FakeAws(shop.described))["EKS cluster shop"].error
    assert error
    assert not any(token.rpartition(".")[2] in error for token in shop.tokens)
    assert "X-Amz" not in error
    return error


def summary(uses: list[Use]) -> set[tuple[str, str, str]]:
    """(Kind, name, digest or tag)."""
    return {(u.kind, u.name, u.digest or u.tag or u.image) for u in uses}


def pod(name: str, image: str, image_id: str | None = None, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "app", "image": image}]},
    }
    if image_id is not None:
        state = {"running": {"startedAt": "2026-11-15T08:00:05Z"}}
        container = {"name": "app", "image": image, "imageID": image_id, "state": state}
        made["status"] = {"phase": "Running", "startTime": "2026-11-15T08:00:00Z", "containerStatuses": [container]}
    return made | more


def templated(name: str, image: str, **more: Any) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec | more}


def test_every_kind_of_workload_is_read(shop: KubernetesServer) -> None:
    template = {"spec": {"containers": [{"name": "app", "image": f"{HOST}:old"}]}}
    owner = {"kind": "StatefulSet", "name": "db", "uid": "1", "controller": True}
    shop.objects = {
        "/apis/apps/v1/deployments": [templated("web", f"{HOST}:v9", replicas=0)],
        REPLICA_SETS: [templated("web-1", f"{HOST}:v8", replicas=0)],
        "/apis/apps/v1/statefulsets": [templated("db", f"{HOST}:v7")],
        "/apis/apps/v1/daemonsets": [templated("log", f"{HOST}:v6")],
        "/apis/batch/v1/jobs": [templated("once", f"{HOST}:v5")],
        "/apis/batch/v1/cronjobs": [
            {
                "metadata": {"name": "nightly", "namespace": "default"},
                "spec": {"jobTemplate": templated("", f"{HOST}:v4")},
            }
        ],
        "/api/v1/replicationcontrollers": [templated("old", f"{HOST}:v3")],
        "/apis/apps/v1/controllerrevisions": [
            {
                "metadata": {"name": "db-1", "namespace": "default", "ownerReferences": [owner]},
                "data": {"spec": {"template": {"$patch": "replace", **template}}},
            },
            {"metadata": {"name": "mine-1", "namespace": "default"}, "data": {"of": "somebody"}},
        ],
        PODS: [pod("bare", f"{HOST}:v1", f"{HOST}@{ONE}")],
    }
    assert summary(running(shop)) == {
        ("eks deployment", "shop/default/web/app", "v9"),
        ("eks replicaset", "shop/default/web-1/app", "v8"),
        ("eks statefulset", "shop/default/db/app", "v7"),
        ("eks daemonset", "shop/default/log/app", "v6"),
        ("eks job", "shop/default/once/app", "v5"),
        ("eks cronjob", "shop/default/nightly/app", "v4"),
        ("eks replicationcontroller", "shop/default/old/app", "v3"),
        ("eks controllerrevision", "shop/default/db-1/app", "old"),
        ("eks pod", "shop/default/bare/app", ONE),
        ("eks pod", "shop/default/bare/app", "v1"),
    }
    assert {path for path, _, _ in shop.asked} == {workload.path for workload in workloads.WORKLOADS}


@pytest.mark.parametrize(
    ("image_id", "digest"),
    [
        (f"{HOST}@{ONE}", ONE),  # containerd, CRI-O
        (f"docker-pullable://{HOST}@{ONE}", ONE),  # dockershim
        (f"mirror.example/copy@{ONE}", ONE),
        (CONFIG, None),  # the configuration's digest: containerd has no digest of the registry
        (f"docker://{CONFIG}", None),
        (CONFIG.removeprefix("sha256:"), None),
        ("", None),  # not pulled yet
        (f"{HOST}@sha256:short", None),
        (f"{HOST}@sha512:{'a' * 128}", None),
        ("x" * 2000 + f"@{ONE}", None),
        (7, None),
    ],
)
def test_the_digest_is_read_from_each_form_of_image_id(shop: KubernetesServer, image_id: Any, digest: str) -> None:
    shop.objects[PODS] = [pod("web", f"{HOST}:v1", image_id)]
    uses = running(shop)
    assert {use.digest for use in uses} - {None} == ({digest} if digest else set())
    (tagged, *more) = [use for use in uses if use.digest is None]
    assert tagged.tag == "v1"
    if digest and "mirror" not in image_id:
        assert (tagged.since, more) == (None, [])
    else:  # later, the digest of the tag at the start of pod and container counts too
        seconds = [use.since.second for use in (tagged, *more) if use.since]
        assert seconds == [0, 5]


def test_every_container_of_a_pod_and_its_volumes_count(shop: KubernetesServer) -> None:
    made = pod("web", f"{HOST}:app", f"{HOST}@{ONE}")
    made["spec"]["initContainers"] = [{"name": "init", "image": f"{HOST}:init"}]
    made["spec"]["ephemeralContainers"] = [{"name": "debug", "image": f"{HOST}:debug"}]
    made["spec"]["volumes"] = [
        {"name": "data", "image": {"reference": f"{HOST}:data"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    made["status"]["initContainerStatuses"] = [{"name": "init", "image": f"{HOST}:init2", "imageID": f"{HOST}@{TWO}"}]
    made["status"]["ephemeralContainerStatuses"] = [{"name": "debug", "image": CONFIG, "imageID": f"{HOST}@{THREE}"}]
    shop.objects[PODS] = [made]
    assert {what for _, _, what in summary(running(shop))} == {
        *(ONE, TWO, THREE),
        *("app", "init", "init2", "debug", "data"),
    }


def test_the_pods_of_one_controller_are_one_use(shop: KubernetesServer) -> None:
    owner = {"kind": "ReplicaSet", "name": "web-1", "uid": "1", "controller": True}
    metadata = {"namespace": "default", "ownerReferences": [owner]}
    shop.objects[PODS] = [
        pod(f"web-1-{n}", f"{HOST}@{ONE}", f"{HOST}@{ONE}", metadata={**metadata, "name": f"web-1-{n}"})
        for n in range(600)
    ]
    (use,) = running(shop)
    assert (use.kind, use.name) == ("eks pod of replicaset", "shop/default/web-1/app")
    assert [after for path, _, after in shop.asked if path == PODS] == ["", "from-250", "from-500"]


def test_a_pod_without_status_and_lists_that_are_null_are_read(shop: KubernetesServer) -> None:
    bare = pod("web", f"{HOST}:v1")
    bare["spec"] |= {"initContainers": None, "volumes": None}
    shop.objects[PODS] = [bare]
    shop.objects["/apis/batch/v1/jobs"] = []
    shop.answers["/apis/batch/v1/cronjobs"] = [
        Answer(200, b'{"kind":"CronJobList","apiVersion":"batch/v1","metadata":{},"items":null}')
    ]
    assert summary(running(shop)) == {("eks pod", "shop/default/web/app", "v1")}


def test_invalid_image_names_are_no_use_and_images_of_other_registries_no_failure(
    shop: KubernetesServer,
) -> None:
    shop.objects[PODS] = [pod("a", "x" * 100_000), pod("b", "docker.io/library/nginx:1.27"), pod("c", "::@@//:")]
    assert [use.image for use in running(shop)] == ["docker.io/library/nginx:1.27", "::@@//:"]


# --- unknown usage

EMPTY_SPEC = {"metadata": {"name": "x", "namespace": "y"}, "spec": {}}
OF_SET = {"metadata": {"name": "x", "ownerReferences": [{"kind": "DaemonSet", "name": "d", "controller": True}]}}


@pytest.mark.parametrize(
    ("path", "item", "why"),
    [
        (PODS, EMPTY_SPEC, "does not name its containers"),
        (PODS, {"metadata": {}, "spec": {"containers": None}}, "does not name its containers"),
        (PODS, {"spec": {"containers": [{"name": "a"}]}}, "does not name the image"),
        (PODS, {"spec": {"containers": [{"name": "a", "image": ""}]}}, "does not name the image"),
        (PODS, {"spec": {"containers": ["a"]}}, "'containers' is not in the form"),
        (PODS, {"spec": {"containers": [], "initContainers": {}}}, "'initContainers' is not in the form"),
        (PODS, {"spec": {"containers": []}, "status": {"containerStatuses": 1}}, "'containerStatuses'"),
        (PODS, "a text", "not in the form"),
        (REPLICA_SETS, EMPTY_SPEC, "does not name its containers"),
        ("/apis/batch/v1/cronjobs", templated("x", f"{HOST}:v1"), "does not name its containers"),
        ("/apis/apps/v1/controllerrevisions", OF_SET, "does not name its containers"),
    ],
)
def test_an_object_without_its_images_makes_the_cluster_unreadable(
    shop: KubernetesServer, path: str, item: Any, why: str
) -> None:
    shop.objects[path] = [item]
    assert why in refused(shop)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"<html>hello</html>", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"kind":"PodList","items":[],"metadata":{"x":"\\ud800"}}', "not JSON"),  # half of a surrogate pair
        (b"[]", "not in the form"),
        (b'{"kind":"PodList"}', "not a PodList"),
        (b'{"kind":"PodList","items":{}}', "not a PodList"),
        (b'{"kind":"Status","items":[]}', "not a PodList"),
        (b'{"kind":"PodList","items":[]}', "not in the form"),
        (b'{"kind":"PodList","items":[],"metadata":{"continue":7}}', "'continue' is not text"),
    ],
)
def test_an_answer_of_another_kind_is_not_an_empty_list(shop: KubernetesServer, body: bytes, why: str) -> None:
    shop.answers[PODS] = [Answer(200, body)] * 3  # an answer that is not JSON is requested again
    assert why in refused(shop)


def test_an_endless_list_is_an_error(shop: KubernetesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    same = b'{"kind":"PodList","items":[],"metadata":{"continue":"same"}}'
    shop.answers[PODS] = [Answer(200, same)] * 3
    assert "same next page twice" in refused(shop)
    monkeypatch.setattr(api, "PAGES", 5)
    shop.answers[PODS] = [Answer(200, same.replace(b"same", b"%d" % n)) for n in range(9)]
    assert "more than 5 pages" in refused(shop)


def test_an_expired_list_is_restarted_a_few_times(shop: KubernetesServer) -> None:
    gone = status(410, "Expired", "The provided continue parameter is too old")
    shop.objects[PODS] = [pod(f"p{n}", f"{HOST}:v{n}") for n in range(3)]
    shop.most = 2
    first = b'{"kind":"PodList","metadata":{"continue":"from-2"},"items":[]}'
    shop.answers[PODS] = [Answer(200, first), gone]
    assert len(running(shop)) == 3
    assert [after for path, _, after in shop.asked if path == PODS] == ["", "from-2", "", "from-2"]
    shop.answers[PODS] = [gone] * 3
    assert "expired 3 times" in refused(shop)


def test_an_answer_that_is_too_large_is_requested_in_smaller_pages(
    shop: KubernetesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "LARGEST", 20_000)
    shop.objects[PODS] = [pod(f"p{n}", f"{HOST}:v{n}", None, padding="x" * 2000) for n in range(20)]
    assert len(running(shop)) == 20
    assert {limit for path, limit, _ in shop.asked if path == PODS} == {250, 62, 15, 3}
    shop.objects[PODS] = [pod("p", f"{HOST}:v1", None, padding="x" * 30_000)]
    assert "longer than 20000 bytes" in refused(shop)


def test_a_throttling_cluster_is_retried(shop: KubernetesServer) -> None:
    shop.objects[PODS] = [pod("p", f"{HOST}:v1")]
    shop.answers[PODS] = [
        status(429, "TooManyRequests", "try later", Retry_After="1"),
        status(503, "ServiceUnavailable", "the server is starting"),
    ]
    assert len(running(shop)) == 1
    shop.answers[PODS] = [status(500, "InternalError", "etcdserver: request timed out")] * 3
    assert "etcdserver: request timed out (500)" in refused(shop)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(401, "Unauthorized", "Unauthorized"), "Unauthorized (401)"),
        (status(403, "Forbidden", 'pods is forbidden: User "x" cannot list resource'), "pods is forbidden"),
        (Answer(403, b"no"), "no (403)"),
        (Answer(403, b'"no"'), '"no" (403)'),
    ],
)
def test_a_clusters_refusal_names_the_role_that_needs_an_access_entry_and_how_to_create_it(
    shop: KubernetesServer, answer: Answer, said: str
) -> None:
    shop.answers[PODS] = [answer]
    error = refused(shop, FakeAws(shop.described).caller())
    assert "list pods of the EKS cluster shop in 222222222222/sa-east-1" in error
    assert said in error
    assert (
        f"aws eks create-access-entry --cluster-name shop --region sa-east-1 --principal-arn {ROLE} && "
        f"aws eks associate-access-policy --cluster-name shop --region sa-east-1 --principal-arn {ROLE} "
        "--policy-arn arn:aws:eks::aws:cluster-access-policy/AmazonEKSViewPolicy --access-scope type=cluster"
    ) in error
    assert "usage.eks.ignore" in error


def test_a_redirect_is_not_followed(shop: KubernetesServer) -> None:
    shop.answers[PODS] = [Answer(302, b"", {"Location": f"{shop.url}/elsewhere"})]
    assert "(302)" in refused(shop)
    assert "/elsewhere" not in {path for path, _, _ in shop.asked}


def test_a_cluster_with_an_untrusted_certificate_gets_no_token(shop: KubernetesServer, tmp_path: Path) -> None:
    certify(tmp_path, "127.0.0.1")
    other = shop.described | {
        "certificateAuthority": KubernetesServer("x", (tmp_path / "ca.pem").read_text()).described[
            "certificateAuthority"
        ]
    }
    error = refused(shop, FakeAws(other))
    assert "certificate that this machine does not trust" in error
    assert "SSL_CERT_FILE" not in error
    assert "create-access-entry" not in error
    assert shop.asked == []


def test_the_context_checks_chain_and_name_but_asks_for_no_key_identifiers(shop: KubernetesServer) -> None:
    context = api.trusting(shop.authority)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert len(context.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        ({"endpoint": "http://127.0.0.1:1"}, "not an HTTPS URL"),
        ({"endpoint": ""}, "not an HTTPS URL"),
        ({"certificateAuthority": {"data": ""}}, "no certificate authority"),
        ({"certificateAuthority": {"data": "%%%"}}, "not base64"),
        ({"certificateAuthority": {"data": "AAAA"}}, "can't be read"),
        ({"certificateAuthority": {}}, "no certificate authority"),
    ],
)
def test_a_cluster_without_a_safe_address_is_not_contacted(
    shop: KubernetesServer, cluster: dict[str, Any], why: str
) -> None:
    assert why in refused(shop, FakeAws(shop.described | cluster))
    assert shop.asked == []


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"endpointPublicAccess": False}, "SubnetIds"),
        ({"endpointPublicAccess": True, "publicAccessCidrs": ["203.0.113.0/24"]}, "allows only 203.0.113.0/24"),
        ({"endpointPublicAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]}, "no answer from"),
    ],
)
def test_the_error_of_a_silent_cluster_says_what_to_do(
    shop: KubernetesServer, config: dict[str, Any], hint: str
) -> None:
    with serving(BaseHTTPRequestHandler) as port:
        closed = port
    away = shop.described | {"endpoint": f"https://127.0.0.1:{closed}", "resourcesVpcConfig": config}
    assert hint in refused(shop, FakeAws(away))


# --- which clusters are read


def test_clusters_fail_independently_and_ignored_ones_are_not_contacted(shop: KubernetesServer) -> None:
    shop.objects[PODS] = [pod("web", f"{HOST}:v1")]
    broken = shop.described | {"name": "broken", "endpoint": "http://nowhere"}
    aws = FakeAws(broken, shop.described, ignored="sandbox-1")
    found = readings(aws, UsageRules(("222222222222/*/sandbox-*",)))
    assert set(found) == {"EKS", "EKS cluster broken", "EKS cluster shop"}
    assert found["EKS cluster broken"].error
    assert len(found["EKS cluster shop"].uses) == 1


def test_a_registry_with_only_ignored_clusters_is_not_read() -> None:
    for pattern in ("222222222222/*", "222222222222/sa-east-1/*", "*/*"):
        assert readings(FakeAws(), UsageRules((pattern,)))["EKS"].error is None
    aws = FakeAws()
    aws.stubs["eks"].add_client_error("list_clusters", "AccessDeniedException", "no", http_status_code=403)
    assert "AccessDenied" in (readings(aws, UsageRules(("222222222222/sa-east-1/shop",)))["EKS"].error or "")


def test_a_missing_list_of_clusters_is_not_an_empty_one() -> None:
    aws = FakeAws()
    aws.stubs["eks"].add_response("list_clusters", {})
    assert "lacks 'clusters'" in (readings(aws)["EKS"].error or "")


def test_a_deleted_cluster_and_one_without_an_api_run_nothing(shop: KubernetesServer) -> None:
    assert not readings(FakeAws({"name": "new", "status": "CREATING"}))["EKS cluster new"].error
    assert "HTTPS" in (readings(FakeAws({"name": "odd", "status": "ACTIVE"}))["EKS cluster odd"].error or "")
    aws = FakeAws()
    aws.stubs["eks"].add_response("list_clusters", {"clusters": ["old"]})
    aws.stubs["eks"].add_client_error("describe_cluster", "ResourceNotFoundException", "gone", http_status_code=404)
    assert readings(aws)["EKS cluster old"].error is None


class Nowhere:
    """`Clients` whose hosts do not exist."""

    def get(self, service: str, registry: EcrRegistry, power: str = "read") -> Any:
        return self

    def list_clusters(self, **request: Any) -> Any:
        raise EndpointConnectionError(endpoint_url="https://eks")


@pytest.mark.parametrize(("region", "has"), [("xx-nowhere-1", False), ("sa-east-1", True)])
def test_a_region_without_eks_has_no_uses_and_one_that_does_not_answer_stays_an_error(region: str, has: bool) -> None:
    place = EcrRegistry("222222222222", region)
    (found,) = EksClusters(Nowhere()).readings(place, NOW, EVERYTHING)  # type: ignore[arg-type]
    assert bool(found.error) is has


def test_the_token_is_a_presigned_sts_request_for_this_cluster_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import base64
    from urllib.parse import parse_qs, urlsplit

    sts = FakeAws().made["sts"]
    tokens = [eks.token(sts, cluster, PROD) for cluster in ("shop", "shop", "other")]
    found = tokens[0].removeprefix("k8s-aws-v1.")
    url = base64.urlsafe_b64decode(found + "=" * (-len(found) % 4)).decode()
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    assert urlsplit(url).netloc == "sts.sa-east-1.amazonaws.com"
    moment = datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    plain = AWSRequest(
        "GET",
        "https://sts.sa-east-1.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15",
        headers={"x-k8s-aws-id": "shop"},
    )
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda remove_tzinfo=True: moment.replace(tzinfo=None))
    SigV4QueryAuth(Credentials("AKID", "secret", "t"), "sts", "sa-east-1", expires=60).add_auth(plain)
    signed = {name: values[0] for name, values in parse_qs(urlsplit(str(plain.url)).query).items()}
    assert query == signed
    assert tokens[2] not in tokens[:2]
