"""`tallyman copy` against more peculiarities of registries: other statuses, orders and spellings."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import image, index, sbom, signature
from support.images.layouts import layout
from support.servers.copy_cli import copied, holding, holds
from support.servers.oci import OciServer, Trouble, oci_server
from tallyman.adapters.oci import auth
from tallyman.domain.names import Digest
from tallyman_cli.copy.copy import run

BUILT = index(image("a"), image("b", architecture="arm64"))
INDEX = "application/vnd.oci.image.index.v1+json"
PASSING = [300, 304, 305, 306, 400, 401, 403, 404, 405, 406, 409, 410, 415, 418, 422, 451, 501]

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")
Capture = pytest.CaptureFixture[str]


def asked(host: str, *challenges: str) -> Trouble:
    return Trouble(status=401, headers=tuple(("WWW-Authenticate", c.format(host=host)) for c in challenges))


def login(home: Path, host: str) -> None:
    (home / ".docker").mkdir(exist_ok=True)
    auths = {host: {"auth": "bWU6d29yZA=="}}
    (home / ".docker/config.json").write_text(json.dumps({"auths": auths}))


# --- tokens


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("away", [False, True])
def test_a_redirected_token_request_is_followed(
    source: OciServer, target: OciServer, home: Path, status: int, away: bool, capsys: Capture
) -> None:
    login(home, source.host)
    with oci_server() as other:
        source.token = "secret"
        there = other if away else source
        location = (("Location", f"http://{there.host}/jwt/token?service=x" if away else "/jwt/token?service=x"),)
        source.on("GET", "/token?service=test", Trouble(status=status, headers=location), times=9)
        source.raw["/jwt/token"] = other.raw["/jwt/token"] = b'{"token": "secret"}'
        copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
        assert not [a for a in other.authorizations if a]
        assert bool(other.requests) is away


@pytest.mark.parametrize(
    "challenges",
    [
        ("Bearer", 'Bearer realm="http://{host}/token",service="test"'),
        ('Bearer error="invalid_token"', 'Bearer realm="http://{host}/token"'),
        ('Negotiate, Basic realm="x", Bearer realm="http://{host}/token"',),
        ('Negotiate YII=, Bearer realm="http://{host}/token"',),
        ("bearer realm=http://{host}/token , service=test",),
        ('BEARER REALM="http://{host}/token"',),
        ('Digest realm="x", nonce="a=b, Bearer realm=y", qop="auth"', 'Bearer realm="http://{host}/token"'),
        ('Bearer service="te,st", realm="http://{host}/token"',),
    ],
)
def test_the_token_is_fetched_from_the_challenge_with_a_realm(
    source: OciServer, target: OciServer, challenges: tuple[str, ...], capsys: Capture
) -> None:
    source.token = "secret"
    source.on("GET", "/manifests/", asked(source.host, *challenges))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert source.tokens_given


@pytest.mark.parametrize(
    "realm", ["http://{host}/token", "http://localhost:1/token", "http://elsewhere.test/token", "nothing"]
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_basic_authentication_is_used_if_no_token_is_issued(
    source: OciServer, target: OciServer, home: Path, realm: str, status: int, capsys: Capture
) -> None:
    login(home, source.host)
    source.on("GET", "/token", Trouble(status=status), times=99)
    source.on("GET", "/manifests/", asked(source.host, f'Bearer realm="{realm}"', 'Basic realm="x"'))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert "Basic bWU6d29yZA==" in source.authorizations


def test_several_scopes_are_requested_separately(source: OciServer, target: OciServer, capsys: Capture) -> None:
    source.token = "secret"
    scopes = "repository:team/app:pull repository:team/base:pull"
    source.on("GET", "/manifests/", asked(source.host, f'Bearer realm="http://{{host}}/token",scope="{scopes}"'))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    (path,) = {path for _, path in source.requests if path.startswith("/token") and "base" in path}
    assert path.count("scope=") == 2


@pytest.mark.parametrize("known", [True, False])
def test_the_first_token_for_a_target_includes_push(
    source: OciServer, target: OciServer, known: bool, capsys: Capture
) -> None:
    """Quay asks for `pull` for a look at a repository, and has no other token for one that does not exist."""
    pull, both = "scope=repository%3Ateam%2Fapp%3Apull", "scope=repository%3Ateam%2Fapp%3Apull%2Cpush"
    source.token = target.token = "secret"
    for server in (source, target):
        challenge = 'Bearer realm="http://{host}/token",service="quay",scope="repository:team/app:pull"'
        server.on("GET", "/manifests/", asked(server.host, challenge))
    if known:
        target.push("team/app", BUILT, "v1")
        target.on("GET", both, Trouble(status=403))  # GHCR, to a login that may only pull
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert [path.rpartition("&")[2] for _, path in source.requests if "/token" in path] == [pull]
    assert [path.rpartition("&")[2] for _, path in target.requests if "/token" in path] == [both, pull][: 1 + known]


@pytest.mark.parametrize("refused", [0, 400, 401, 403, 500])
def test_a_mount_has_a_token_for_both_repositories(source: OciServer, refused: int, capsys: Capture) -> None:
    """Docker Hub refuses it otherwise, Quay and GitHub begin an upload."""
    source.token, source.scoped = "secret", True
    both = "&scope=repository%3Aother%2Fapp%3Apull%2Cpush&scope=repository%3Ateam%2Fapp%3Apull"
    if refused:
        source.on("GET", both, Trouble(status=refused), times=9)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{source.host}/other/app")["targets"][0]
    assert holds(source, "other/app", BUILT, "v1")
    assert len(done["uploaded" if refused else "mounted"]) == len(BUILT.blobs)
    assert source.count("GET", both) == 1


def test_tokens_come_without_tls_from_hosts_that_plain_http_names(
    source: OciServer, target: OciServer, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Harbor without TLS in a private network."""
    monkeypatch.setattr(auth, "LOOPBACK", ())
    source.token = "secret"
    plain = [word for host in (source.host, target.host.upper()) for word in ("--plain-http", host)]
    copied(capsys, *plain, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, "v1")
    source.on("GET", "/manifests/", asked(source.host, 'Bearer realm="http://elsewhere.test/token"'), times=9)
    assert run([*plain, f"{source.host}/team/app:v1", f"{target.host}/team/app"]) == 1
    assert "--plain-http HOST[:PORT] allows it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            b"<html>\r\n<head><title>413 Request\r\nToo Large</title></head>\r\n<body>nginx</body>",
            "413 Request Too Large",
        ),
        (b"<!DOCTYPE html><body>no title</body>", "refused"),
        (b"too\r\nlarge\n", "too large"),
    ],
)
def test_a_page_instead_of_an_error_is_told_in_one_line(
    source: OciServer, target: OciServer, body: bytes, said: str, capsys: Capture
) -> None:
    target.on("PUT", "/blobs/", Trouble(status=413, body=body), times=99)
    failed = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)["targets"][0]["failed"]
    [why] = failed.values()
    assert why.endswith(f": {said} (413)")


@pytest.mark.parametrize("status", [400, 405])
def test_a_registry_chooses_the_size_of_a_page_of_tags(
    source: OciServer, target: OciServer, status: int, capsys: Capture
) -> None:
    """Distribution 3.1 refuses more than its own `maxtags` with 400, ECR more than 1,000 with 405."""
    source.on("GET", "/tags/list?n=", Trouble(status=status), times=9)
    copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, "v1")


# --- missing content


@pytest.mark.parametrize("code", ["NOT_FOUND", "NAME_UNKNOWN", "BLOB_UNKNOWN", "RESOURCE_NOT_FOUND", None])
def test_status_404_means_missing_whatever_its_body(
    source: OciServer, target: OciServer, code: str | None, capsys: Capture
) -> None:
    body = json.dumps({"errors": [{"code": code, "message": "artifact not found"}]}) if code else "<html>no</html>"
    for method, part in (("GET", "/manifests/"), ("HEAD", "/manifests/"), ("HEAD", "/blobs/"), ("GET", "/referrers/")):
        target.on(method, part, Trouble(status=404, body=body.encode()))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, "v1")
    source.on("GET", "/manifests/v2", Trouble(status=404, body=body.encode()), times=9)
    done = copied(capsys, f"{source.host}/team/app:v2", f"{target.host}/team/app", status=1)
    assert "v2" in done["error"]


# --- requests beside the copy


@pytest.mark.parametrize("status", PASSING)
@pytest.mark.parametrize("part", ["/referrers/", "/tags/list", "mount="])
def test_optional_requests_may_be_refused(
    source: OciServer, target: OciServer, status: int, part: str, capsys: Capture
) -> None:
    for server in (source, target):
        for method in ("GET", "POST"):
            server.on(method, part, Trouble(status=status), times=99)
        server.referrers_api = part == "mount="
    signed = signature(BUILT)
    source.push("team/app", signed)
    fallback(source, signed)
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert str(signed.digest) in target.repo("team/app").manifests
    copied(capsys, f"{source.host}/team/app:v1", f"{source.host}/other/app")
    assert holds(source, "other/app", BUILT, "v1")


def fallback(server: OciServer, *made: Any) -> None:
    entries = [{"mediaType": m.root.media_type, "digest": m.digest, "size": len(m.root.raw)} for m in made]
    raw = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    server.repo("team/app").manifests[str(Digest.of(raw))] = raw, INDEX
    server.repo("team/app").tags[f"sha256-{BUILT.digest.hex}"] = str(Digest.of(raw))


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"", b"null", b"[]", b'"x"', b'{"manifests": 5}', b"{"])
def test_an_html_page_instead_of_referrers_is_not_a_list(
    source: OciServer, target: OciServer, answer: bytes, capsys: Capture
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    fallback(source, signed)
    source.raw["/referrers/"] = target.raw["/referrers/"] = answer
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert str(signed.digest) in target.repo("team/app").manifests


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"", b"null", b"[]", b'{"tags": 5}', b"{"])
def test_without_a_readable_tag_list_each_tag_is_requested(
    source: OciServer, target: OciServer, answer: bytes, capsys: Capture
) -> None:
    signed = signature(BUILT)
    for server in (source, target):
        server.referrers_api = False
        server.raw["/tags/list"] = answer
    source.push("team/app", signed)
    fallback(source, signed)
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert str(signed.digest) in target.repo("team/app").manifests
    copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app", status=1)


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(status=202),
        Trouble(status=202, headers=(("Location", "http://elsewhere.test/upload"),)),
        Trouble(status=200),
        Trouble(status=204),
        Trouble(status=500),
        Trouble(status=503),
        Trouble(lost=True),
    ],
    ids=str,
)
def test_a_failed_mount_becomes_an_upload(source: OciServer, trouble: Trouble, capsys: Capture) -> None:
    source.on("POST", "mount=", trouble, times=999)
    copied(capsys, f"{source.host}/team/app:v1", f"{source.host}/other/app")
    assert holds(source, "other/app", BUILT, "v1")


@pytest.mark.parametrize("status", [400, 401, 403, 405, 406])
def test_unreadable_referrers_are_reported_and_the_copy_is_not_successful(
    source: OciServer, target: OciServer, status: int, capsys: Capture
) -> None:
    for part in ("/referrers/", f"/manifests/sha256-{BUILT.digest.hex}", "/tags/list"):
        source.on("GET", part, Trouble(status=status), times=999)
    done = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)
    assert holds(target, "team/app", BUILT, "v1")
    assert done["targets"][0]["refused_referrers"]


@pytest.mark.parametrize("status", [0, 400, 401, 403, 405, 501])
def test_a_referrers_api_that_has_answered_before_is_not_given_up(
    source: OciServer, target: OciServer, status: int, capsys: Capture
) -> None:
    child = next(iter(BUILT.manifests))
    signed = signature(BUILT)
    source.push("team/app", signed)
    source.on("GET", f"/referrers/{child}", Trouble(status=status, flip=True), times=99)
    [report] = copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", status=1)["targets"]
    assert holds(target, "team/app", BUILT, "v1")
    assert str(signed.digest) in target.repo("team/app").manifests
    assert list(report["refused_referrers"]) == [f"the referrers of {child}"]


def test_an_unknown_subject_of_a_referrers_api_has_none(source: OciServer, target: OciServer, capsys: Capture) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    for digest in {*BUILT.manifests, *signed.manifests} - {BUILT.digest}:
        source.on("GET", f"/referrers/{digest}", Trouble(status=404), times=99)
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert str(signed.digest) in target.repo("team/app").manifests


# --- lists


@pytest.mark.parametrize(
    "links",
    [
        ('</x>; rel="last"', '</v2/team/app/tags/list?page=2>; rel="next"'),
        ('</v2/team/app/tags/list?page=2>; title="a, <b>; rel=prev"; rel="next"',),
        ("</v2/team/app/tags/list?page=2>;rel=NEXT;title*=UTF-8''x",),
        ('</v2/team/app/tags/list?page=2&x=a,b>; rel="http://x.test/rel next"',),
        ('<?page=2>; rel="next"',),
        ("<//{host}/v2/team/app/tags/list?page=2>; rel=next",),
        ('</v2/team/app/tags/list?page=2>;rel="next";rel="last"',),
    ],
)
def test_the_next_page_is_found_in_any_link_header(
    source: OciServer, target: OciServer, links: tuple[str, ...], capsys: Capture
) -> None:
    body = json.dumps({"tags": ["v1"]}).encode()
    headers = tuple(("Link", link.format(host=source.host)) for link in links)
    source.on("GET", "/tags/list?n=", Trouble(status=200, headers=headers, body=body), times=9)
    source.push("team/app", image("2"), "v2")
    source.pages["page=2"] = (["v2"], "")
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    assert set(done["targets"][0]["tags"]) == {"v1", "v2"}


@pytest.mark.parametrize("host", ["localhost", "LocalHost"])
@pytest.mark.parametrize("other", ["localhost", "LOCALHOST"])
def test_the_next_page_may_name_the_registry_in_another_spelling(
    source: OciServer, target: OciServer, host: str, other: str, capsys: Capture
) -> None:
    source.push("team/app", image("2"), "v2")
    source.pages["/tags/list?n="] = (["v1"], f'<http://{other}:{source.port}/v2/team/app/tags/list?page=2>; rel="next"')
    source.pages["page=2"] = (["v2"], "")
    done = copied(capsys, "--all-tags", f"{host}:{source.port}/team/app", f"{target.host}/team/app")
    assert set(done["targets"][0]["tags"]) == {"v1", "v2"}
    assert ("GET", "/v2/team/app/tags/list?page=2") in source.requests


@pytest.mark.parametrize("link", ['<>; rel="next"', "<#>; rel=next", "</v2/team/app/tags/list?n=1000#2>; rel=next"])
def test_a_page_link_to_itself_in_another_spelling_is_an_error(
    source: OciServer, target: OciServer, link: str, capsys: Capture
) -> None:
    source.pages["/tags/list"] = (["v1"], link)
    done = copied(capsys, "--all-tags", f"{source.host}/team/app", f"{target.host}/team/app", status=1)
    assert "endless" in done["error"]
    assert source.count("GET", "/tags/list") < 5


def test_pages_of_referrers_are_read_to_their_end(source: OciServer, target: OciServer, capsys: Capture) -> None:
    one, two = signature(BUILT), sbom(BUILT)
    for made in (one, two):
        source.push("team/app", made)

    def page(made: Any) -> bytes:
        entry = {"mediaType": made.root.media_type, "digest": made.digest, "size": len(made.root.raw)}
        return json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()

    more = (("Link", '<?page=2>; rel="next"'),)
    source.on("GET", f"/referrers/{BUILT.digest}?page=2", Trouble(status=200, body=page(two)), times=9)
    source.on("GET", f"/referrers/{BUILT.digest}", Trouble(status=200, headers=more, body=page(one)), times=1)
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert all(str(made.digest) in target.repo("team/app").manifests for made in (one, two))


# --- unusual values in documents


@pytest.mark.parametrize("key", ["annotations", "platform", "urls", "data", "artifactType"])
def test_null_in_a_descriptor_means_absent(source: OciServer, target: OciServer, key: str, capsys: Capture) -> None:
    document = json.loads(BUILT.root.raw)
    document["manifests"][0][key] = None
    raw = json.dumps(document).encode()
    source.repo("team/app").manifests[str(Digest.of(raw))] = raw, INDEX
    source.repo("team/app").tags["null"] = str(Digest.of(raw))
    copied(capsys, f"{source.host}/team/app:null", f"{target.host}/team/app")
    assert target.repo("team/app").manifests[str(Digest.of(raw))][0] == raw


@pytest.mark.parametrize("change", [{"annotations": None}, {"subject": None}, {"artifactType": None}, {"layers": []}])
def test_null_in_a_manifest_means_absent(
    source: OciServer, target: OciServer, change: dict[str, Any], capsys: Capture
) -> None:
    document = json.loads(image("a").root.raw) | change
    raw = json.dumps(document).encode()
    source.repo("team/app").manifests[str(Digest.of(raw))] = raw, document.get("mediaType", "")
    source.repo("team/app").tags["null"] = str(Digest.of(raw))
    copied(capsys, f"{source.host}/team/app:null", f"{target.host}/team/app")


@pytest.mark.parametrize(
    "header", [(), (("Docker-Content-Digest", "sha512:" + "0" * 128),), (("Docker-Content-Digest", "x"),)]
)
def test_a_head_answer_without_a_digest_is_followed_by_get(
    source: OciServer, target: OciServer, header: tuple[tuple[str, str], ...], capsys: Capture
) -> None:
    everything = ("--all-tags", f"{source.host}/team/app", f"{target.host}/team/app")
    copied(capsys, *everything)
    for server in (source, target):
        server.on("HEAD", "/manifests/", Trouble(status=200, headers=header), times=99)
    assert copied(capsys, *everything)["images"] == []


# --- layouts


@pytest.mark.parametrize("tag", ["v1", f"sha256-{'0' * 64}"])
def test_a_copy_to_a_layout_and_back_keeps_tags_that_look_like_fallback_tags(
    source: OciServer, target: OciServer, tmp_path: Path, tag: str, capsys: Capture
) -> None:
    place = layout(tmp_path / "l", (BUILT, f"docker.io/team/app:{tag}"))
    target.referrers_api = False
    copied(capsys, "--all-tags", place, f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, tag)
