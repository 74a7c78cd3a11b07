"""`tallyman copy` against registries as they behave: the peculiarities of registry.k8s.io, ghcr.io, Artifactory,
Harbor, GitLab, Quay and Docker Hub, and hostile sources."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import Built, image, index, sbom, signature
from support.servers.copy_cli import copied, holding, holds
from support.servers.oci import OciServer, Trouble, oci_server
from support.servers.secured import proxying
from tallyman.domain.names import Digest
from tallyman_cli.copy.copy import run

BUILT = index(image("a"), image("b", architecture="arm64"))
INDEX = "application/vnd.oci.image.index.v1+json"
REFUSALS = [301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 406, 501]

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


def elsewhere(server: OciServer, path: str) -> Trouble:
    return Trouble(status=307, headers=(("Location", f"http://{server.host}{path}"),))


def put(server: OciServer, document: dict[str, Any], tag: str = "", kind: str = INDEX) -> Digest:
    """Store a manifest as it is, without its children and blobs."""
    raw = json.dumps(document).encode()
    digest = Digest.of(raw)
    server.repo("team/app").manifests[str(digest)] = raw, kind
    if tag:
        server.repo("team/app").tags[tag] = str(digest)
    return digest


def entry(built: Built, **more: Any) -> dict[str, Any]:
    return {"mediaType": built.root.media_type, "digest": str(built.digest), "size": len(built.root.raw), **more}


# --- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_without_credentials(
    source: OciServer, target: OciServer, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with oci_server() as other:
        signed = signature(BUILT)
        for server in (source, other):
            server.push("team/app", BUILT, "v1")
            server.push("team/app", signed)
        source.token = "secret"
        for kind in ("manifests/", "tags/list", "referrers/"):
            paths = [f"manifests/{d}" for d in (*BUILT.manifests, *signed.manifests)] + ["manifests/v1"]
            paths = {"manifests/": paths, "tags/list": ["tags/list"]}.get(kind, [f"referrers/{BUILT.digest}"])
            for path in paths:
                location = (("Location", f"http://{other.host}/v2/team/app/{path}"),)
                for method in ("GET", "HEAD"):
                    source.on(method, path, Trouble(status=status, headers=location), times=9)
        done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
        assert done["targets"][0]["tags"] == {"v1": BUILT.digest}
        assert holds(target, "team/app", BUILT, "v1")
        assert str(signed.digest) in target.repo("team/app").manifests
        assert other.requests
        assert set(other.authorizations) == {None}


def test_endless_redirects_are_an_error(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    source.on("GET", "/manifests/v1", elsewhere(source, "/v2/team/app/manifests/v1"), times=999)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    assert "redirects" in done["error"]
    assert source.count("GET") < 30


@pytest.mark.parametrize("flag", [False, True])
def test_a_redirect_from_a_public_registry_to_a_private_address_is_refused(
    source: OciServer,
    target: OciServer,
    flag: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in list(os.environ):
        if name.lower() in ("http_proxy", "https_proxy", "no_proxy"):
            monkeypatch.delenv(name)
    with oci_server() as inner, proxying({"plain.test:80": source.port}) as proxy:
        inner.push("team/app", BUILT, "v1")
        monkeypatch.setenv("http_proxy", proxy.url)
        source.on("GET", "/manifests/v1", elsewhere(inner, "/v2/team/app/manifests/v1"), times=9)
        words = ["--plain-http", "plain.test", "plain.test/team/app:v1", f"{target.host}/team/app"]
        done = copied(capsys, *words, *(["--private-redirects"] if flag else []), status=0 if flag else 1)
        assert bool(inner.requests) is flag
    if not flag:
        assert "plain.test redirects to localhost:" in done["error"]
        assert "--private-redirects" in done["error"]


# --- requests beside the copy


@pytest.mark.parametrize("status", REFUSALS)
def test_the_fallback_tag_is_read_if_the_referrers_api_fails(
    source: OciServer, target: OciServer, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    put(source, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(signed)]}, f"sha256-{BUILT.digest.hex}")
    nowhere = (("Location", "http://localhost:1/login"),) if status < 400 else ()
    source.on("GET", "/referrers/", Trouble(status=status, headers=nowhere), times=999)
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert str(signed.digest) in target.repo("team/app").manifests


@pytest.mark.parametrize("status", REFUSALS)
def test_a_blob_that_is_not_mounted_is_uploaded(
    source: OciServer, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source.on("POST", "mount=", Trouble(status=status), times=999)
    copied(capsys, f"{source.host}/team/app:v1", f"{source.host}/other/app")
    assert holds(source, "other/app", BUILT, "v1")


@pytest.mark.parametrize("status", [s for s in REFUSALS if s != 404])
@pytest.mark.parametrize("get", [False, True])
def test_a_blob_whose_head_request_fails_is_read_or_uploaded(
    source: OciServer, target: OciServer, status: int, get: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    target.repo("team/app").blobs.update({str(d): raw for d, raw in BUILT.blobs.items()})
    target.on("HEAD", "/blobs/", Trouble(status=status), times=999)
    if get:
        target.on("GET", "/blobs/", Trouble(status=status), times=999)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, "v1")
    assert bool(done["targets"][0]["uploaded"]) is get


@pytest.mark.parametrize("status", REFUSALS)
def test_a_tag_whose_head_request_fails_is_read(
    source: OciServer, target: OciServer, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    everything = ("--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    copied(capsys, *everything)
    for server in (source, target):
        server.on("HEAD", "/manifests/", Trouble(status=status), times=999)
    assert copied(capsys, *everything)["images"] == []


# --- credentials


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("first", ["bearer", "basic"])
def test_with_several_challenges_the_bearer_parameters_are_used(
    source: OciServer, target: OciServer, together: bool, first: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source.token = "secret"
    bearer = f'Bearer realm="http://{source.host}/token",service="right",scope="repository:team/app:pull"'
    basic = 'Basic realm="http://localhost:1/wrong", service="wrong"'
    both = [bearer, basic] if first == "bearer" else [basic, bearer]
    headers = [("Www-Authenticate", ", ".join(both))] if together else [("WWW-Authenticate", b) for b in both]
    source.on("GET", "/manifests/", Trouble(status=401, headers=tuple(headers)))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert source.tokens_given[0] == "repository:team/app:pull"
    assert any("service=right" in path for _, path in source.requests)


@pytest.mark.parametrize(
    ("where", "key", "auth"),
    [
        (".docker/config.json", "http://{host}/v2/", "bWU6d29yZA=="),
        (".docker/config.json", "https://{host}/some/path", "bWU6d29yZA=="),
        (".docker/config.json", "{host}", "bWU6\nd29y\r\nZA==\n"),
        (".config/containers/auth.json", "{host}", "bWU6d29yZA=="),
        (".config/containers/auth.json", "{host}/team", "bWU6d29yZA=="),
        (".config/containers/auth.json", "{host}/team/app", "bWU6d29yZA=="),
        ("elsewhere.json", "{host}", "bWU6d29yZA=="),
    ],
)
def test_logins_are_parsed_as_docker_and_podman_parse_them(  # noqa: PLR0913 - fixtures and parameters
    source: OciServer,
    target: OciServer,
    home: Path,
    where: str,
    key: str,
    auth: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    if where == "elsewhere.json":
        monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / where))
    path = home / where
    path.parent.mkdir(parents=True, exist_ok=True)
    auths = {key.format(host=source.host): {"auth": auth}, "else.where": {"auth": "??"}}
    path.write_text(json.dumps({"auths": auths}))
    source.on("GET", "/manifests/", Trouble(status=401, headers=(("Www-Authenticate", "Basic realm=x"),)))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert "Basic bWU6d29yZA==" in source.authorizations
    assert set(target.authorizations) == {None}


def test_a_login_for_another_namespace_of_podman_is_not_sent(
    source: OciServer,
    target: OciServer,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    auths = {f"{source.host}/tea": {"auth": "bWU6d29yZA=="}}
    (home / "auth.json").write_text(json.dumps({"auths": auths}))
    source.on("GET", "/manifests/", Trouble(status=401, headers=(("Www-Authenticate", "Basic realm=x"),)), times=9)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    assert "docker login" in done["error"]


# --- lists


@pytest.mark.parametrize(
    "link",
    [
        '</v2/team/app/tags/list?page=2>; rel="next"',
        "<tags/list?page=2>;rel=next",
        "<list?page=2> ; REL=Next",
        '<http://{host}/v2/team/app/tags/list?page=2>; rel="prev next"',
        '</x>; rel="first", </v2/team/app/tags/list?page=2>; rel="next"',
        '<http://inner.invalid:5000/v2/team/app/tags/list?page=2>; rel="next"',
        '</api/proxy/tags/list?page=2>; rel="next"',
    ],
)
def test_every_form_of_the_next_page_link_is_followed(
    source: OciServer, target: OciServer, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source.pages["/tags/list?n="] = (["v1"], link.format(host=source.host))
    source.push("team/app", image("2"), "v2")
    source.pages["page=2"] = (["v2"], "")
    if link.startswith("<tags/list"):  # relative to `…/tags/list`
        source.pages["tags/tags/list?page=2"] = (["v2"], "")
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    assert set(done["targets"][0]["tags"]) == {"v1", "v2"}


@pytest.mark.parametrize("link", ['</v2/team/app/tags/list?n=1000>; rel="next"', '<http://x.invalid/y>; rel="next"'])
def test_a_page_link_to_itself_or_another_host_is_an_error(
    source: OciServer, target: OciServer, link: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source.pages["/tags/list"] = (["v1"], link)
    copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app", status=1)
    assert source.count("GET", "/tags/list") <= 2


def test_invalid_tags_are_reported_and_never_part_of_a_url(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = ["../../../victim/prod/manifests/latest", "v1?x=y", "v1#x", "\x1b[31mred", "", "a" * 129, "v 2"]
    source.pages["/tags/list"] = (["v1", *odd], "")
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app", status=1)
    assert done["targets"][0]["tags"] == {"v1": BUILT.digest}
    assert len(done["targets"][0]["failed"]) == len(odd)
    assert not [path for _, path in (*source.requests, *target.requests) if "victim" in path or "x=y" in path]
    capsys.readouterr()
    assert "\x1b" not in json.dumps(done)


def test_invalid_entries_of_a_referrers_list_are_skipped_and_reported(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    source.referrers_api = False
    signed, listed = signature(BUILT), sbom(BUILT)
    for made in (signed, listed):
        source.push("team/app", made)
    strange = "sha512:" + "0" * 128
    untyped = {key: value for key, value in entry(image("x")).items() if key != "mediaType"}
    entries = [
        entry(signed),
        {**entry(image("y")), "digest": strange},
        untyped,
        {**entry(image("z")), "annotations": {"a": None}},
        "nothing",
        entry(listed, annotations=None),
    ]
    put(source, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, f"sha256-{BUILT.digest.hex}")
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    [report] = done["targets"]
    assert set(report["refused_referrers"]) >= {strange, untyped["digest"], str(image("z").digest)}
    assert len(report["refused_referrers"]) == 4
    assert report["tags"] == {"v1": BUILT.digest}
    assert all(str(made.digest) in target.repo("team/app").manifests for made in (signed, listed))


def test_a_target_that_answers_the_fallback_tag_with_the_subject_gets_a_new_list(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    target.referrers_api, target.digest_tags = False, True
    for _ in range(2):
        copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    tag = target.repo("team/app").tags[f"sha256-{BUILT.digest.hex}"]
    found = json.loads(target.repo("team/app").manifests[tag][0])["manifests"]
    assert [e["digest"] for e in found] == [signed.digest]


def test_a_source_that_answers_the_fallback_tag_with_the_subject_has_no_referrers(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    source.referrers_api, source.digest_tags = False, True
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert set(target.repo("team/app").manifests) == {str(d) for d in BUILT.manifests}


@pytest.mark.parametrize("made", [image("hex"), BUILT])
def test_an_image_whose_tag_looks_like_a_fallback_tag_is_copied_as_an_image(
    source: OciServer, target: OciServer, made: Built, capsys: pytest.CaptureFixture[str]
) -> None:
    source.referrers_api = False
    tags = (f"sha256-{'0' * 64}", f"sha256-{BUILT.digest.hex}")
    for tag in tags:
        source.push("team/app", made, tag)
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    assert set(done["targets"][0]["tags"]) == {"v1", *tags}
    assert all(holds(target, "team/app", made, tag) for tag in tags)


def test_a_fallback_list_is_copied_with_its_subject_and_not_as_an_image(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    put(source, {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry(signed)]}, f"sha256-{BUILT.digest.hex}")
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    assert set(done["targets"][0]["tags"]) == {"v1"}


# --- content


def test_an_index_that_lists_layers_is_copied_with_them(
    source: OciServer, target: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The index is BuildKit's cache without image-manifest=true."""
    layers = {str(Digest.of(raw)): raw for raw in (b"layer one", b"layer two")}
    config = b'{"layers": []}'
    types = [*(["application/vnd.oci.image.layer.v1.tar+gzip"] * 2), "application/vnd.buildkit.cacheconfig.v0"]
    blobs = {**layers, str(Digest.of(config)): config}
    source.repo("team/app").blobs.update(blobs)
    entries = [
        {"mediaType": t, "digest": d, "size": len(raw)} for t, (d, raw) in zip(types, blobs.items(), strict=True)
    ]
    digest = put(source, {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, "cache")
    copied(capsys, f"{source.host}/team/app:cache", f"oci:{tmp_path}/layout:cache")
    target.repo("team/app").manifests.update(dict.fromkeys(blobs, (b"", "")))  # the test server requires children
    copied(capsys, f"oci:{tmp_path}/layout:cache", f"{target.host}/team/app")
    assert target.repo("team/app").tags["cache"] == digest
    assert all(target.repo("team/app").blobs[d] == raw for d, raw in blobs.items())


def test_a_refused_referrer_is_left_out_and_the_copy_is_not_successful(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    target.on("PUT", f"/manifests/{signed.digest}", Trouble(status=405), times=9)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    assert list(done["targets"][0]["refused_referrers"]) == [signed.digest]
    assert done["targets"][0]["tags"] == {"v1": BUILT.digest}


def test_the_depth_of_referrers_is_limited(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    made = BUILT
    for _ in range(12):
        made = signature(made)
        source.push("team/app", made)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    assert "the chain of referrers is longer" in next(iter(done["targets"][0]["refused_referrers"].values()))


@pytest.mark.parametrize("what", ["/manifests/v1", "/tags/list", "/referrers/", "/token"])
def test_too_deeply_nested_json_is_an_error_without_a_traceback(
    source: OciServer, target: OciServer, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = b"[" * 100_000
    source.raw[what] = deep
    if what == "/token":
        source.token = "secret"
    words = [f"{source.host}/team/app", f"{target.host}/team/app"]
    if what == "/referrers/":
        words[0] += ":v1"
        copied(capsys, *words)
        return
    words = ["--all-tags", *words] if what == "/tags/list" else [f"{words[0]}:v1", words[1]]
    copied(capsys, *words, status=1)


# --- uploads


@pytest.mark.parametrize("host", ["localhost", "else.where:5000"])
def test_an_upload_location_on_another_host_is_refused_and_both_hosts_are_named(
    source: OciServer, target: OciServer, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    away = (("Location", f"http://{host}/v2/team/app/blobs/uploads/1"),)
    target.on("POST", "/blobs/uploads/", Trouble(status=202, headers=away), times=99)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    error = done["targets"][0]["error"]
    assert f"http://{host if ':' in host else f'{host}:80'}" in error
    assert f"http://{target.host}" in error


# --- missing content


def test_a_missing_source_is_not_successful(
    source: OciServer, target: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (f"{source.host}/no/such", f"oci:{tmp_path}/nothing"):
        copied(capsys, "--all-tags", place, f"{target.host}/team/app", status=1)


def test_a_tag_that_is_listed_but_missing_is_reported(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    source.repo("team/app").tags["gone"] = "sha256:" + "0" * 64
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app", status=1)
    assert "gives no image" in done["targets"][0]["failed"]["gone"]
    assert done["targets"][0]["tags"] == {"v1": BUILT.digest}


def test_messages_of_a_registry_are_escaped_for_the_terminal(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    source.pages["/tags/list"] = (["v1", "\x1b[31mred"], "")
    message = (("Retry-After", "0"),)
    target.on("POST", "/blobs/uploads/", Trouble(status=403, headers=message, body=b"\x1b]0;title\x07no"), times=99)
    assert run(["--all-tags", f"{source.host}/team/app", f"{target.host}/team/app"]) == 1
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "title" in said.err
