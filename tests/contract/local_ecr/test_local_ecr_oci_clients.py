"""crane, regctl and oras between two registries of the local ECR. Clients that are not on the PATH are skipped."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import Built, image, multi_arch, signature
from support.servers.ecr import DEV, NAME, PROD, Served, serve
from support.servers.ecr_shell import Run, password, program, says, shell_of
from tallyman.domain.names import EcrRegistry


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "ecr") as running:
        yield running


@pytest.fixture
def shell(served: Served, tmp_path: Path) -> Run:
    return shell_of(served, tmp_path)


def address(served: Served, registry: EcrRegistry = DEV, name: str = NAME) -> str:
    return f"localhost:{served.ports[registry]}/{name}"


def holds(served: Served, app: Built, tag: str = "v1") -> None:
    """Assert that the second registry has that image, byte by byte."""
    assert served.send("GET", f"/v2/{NAME}/manifests/{tag}", registry=PROD).data == app.raw
    for digest, raw in app.blobs.items():
        assert served.ecr.store.blobs.path(PROD, digest).read_bytes() == raw


def events_of(served: Served, account: str) -> list[tuple[str, str]]:
    """Kind and tag of the events of that account's registry."""
    return [
        (event["detail-type"], event["detail"].get("image-tag", ""))
        for event in served.events
        if event["account"] == account and event["detail"]["action-type"] == "PUSH"
    ]


# -- crane


@pytest.mark.clients
def test_crane_copies_lists_reads_and_deletes(served: Served, shell: Run) -> None:
    """By 127.0.0.1: crane follows no redirect from a name to a private address, so not from localhost either."""
    program("crane")
    app = multi_arch("app")
    for registry in (DEV, PROD):
        served.create(registry)
    served.push(app, "v1")
    source, target = (f"127.0.0.1:{served.ports[registry]}/{NAME}" for registry in (DEV, PROD))
    for registry in (DEV, PROD):
        says(shell, f"crane auth login -u AWS -p {password(served)} 127.0.0.1:{served.ports[registry]}")
    says(shell, f"crane copy {source}:v1 {target}:v1")
    assert says(shell, f"crane digest {target}:v1").strip() == app.digest
    assert served.send("GET", f"/v2/{NAME}/manifests/v1", registry=PROD).data == app.raw
    for n in range(105):
        served.put(app.raw, f"t{n}", app.media_type)
    assert len(says(shell, f"crane ls {source}").split()) == 106
    says(shell, f"crane validate --remote {target}:v1")
    says(shell, f"crane delete {target}@{app.digest}")
    assert served.client(PROD).list_images(repositoryName=NAME)["imageIds"] != []  # the children stay
    assert shell(f"crane digest {target}:v1")[0] == 1


# -- regctl


@pytest.fixture
def regctl(served: Served, shell: Run) -> Run:
    """regctl, logged in to both registries. `registry set` pings without credentials, which ECR refuses: no check."""
    program("regctl")
    for registry in (DEV, PROD):
        host = f"localhost:{served.ports[registry]}"
        says(shell, f"regctl registry set --skip-check --tls disabled {host}")
        says(shell, f"regctl registry login -u AWS -p {password(served)} {host}")
    return shell


@pytest.mark.clients
def test_regctl_copies_an_image_with_its_referrers_and_shows_the_tree(served: Served, regctl: Run) -> None:
    app = multi_arch("app")
    signed = signature(app)
    served.create()
    served.create(PROD, imageTagMutability="IMMUTABLE")
    served.push(app, "v1")
    served.push(signed)
    source, target = f"{address(served)}:v1", f"{address(served, PROD)}:v1"
    says(regctl, f"regctl image copy --referrers {source} {target}")
    holds(served, app)
    holds(served, signed, signed.digest)
    assert sorted(events_of(served, PROD.account)) == [
        ("ECR Image Action", ""),
        ("ECR Image Action", ""),
        ("ECR Image Action", "v1"),
        ("ECR Referrer Action", ""),
    ]
    assert signed.digest in says(regctl, f"regctl artifact list {target}")
    tree = says(regctl, f"regctl artifact tree {target}")
    assert all(digest in tree for digest in (*app.manifests, signed.digest))
    before = len(served.events)
    says(regctl, f"regctl image copy --referrers {source} {target}")
    assert len(served.events) == before, "nothing is put again, so an immutable tag does not refuse it"


@pytest.mark.clients
def test_regctl_reports_why_an_immutable_tag_does_not_move(served: Served, regctl: Run) -> None:
    served.create()
    served.create(PROD, imageTagMutability="IMMUTABLE")
    served.push(image("old"), "v1", registry=PROD)
    served.push(image("new"), "v1")
    status, said = regctl(f"regctl image copy {address(served)}:v1 {address(served, PROD)}:v1")
    assert status == 1
    assert f"The image tag 'v1' already exists in the '{NAME}' repository and cannot be overwritten" in said


@pytest.mark.clients
def test_regctl_lists_pages_of_tags_and_removes_one(served: Served, regctl: Run) -> None:
    app = image("app")
    served.create()
    served.push(app, "v1")
    for n in range(105):
        served.put(app.raw, f"t{n}", app.media_type)
    assert len(says(regctl, f"regctl tag ls {address(served)}").split()) == 106
    says(regctl, f"regctl tag delete {address(served)}:v1")
    assert "v1" not in says(regctl, f"regctl tag ls {address(served)}").split()
    assert says(regctl, f"regctl image digest {address(served)}:t1").strip() == app.digest


@pytest.mark.clients
def test_regctl_fails_in_a_chunked_upload_as_with_ecr(served: Served, regctl: Run, tmp_path: Path) -> None:
    """It trusts the `Range` header of an answer, which stays at the first chunk (containers-roadmap #2831)."""
    served.create()
    put = f"regctl blob put {address(served)}"
    for chunks, right in ((2, True), (3, False)):
        raw = bytes(chunks * 2**20)  # the chunk size that it uses for a stream of unknown length
        (tmp_path / "blob").write_bytes(raw)
        status, said = regctl(f"{put} < {tmp_path}/blob")
        assert (status == 0) is right, said
        assert ("chunkStart (1048576) != bufStart (2097152)" in said) is not right
        digest = "sha256:" + hashlib.sha256(raw).hexdigest()
        assert served.send("HEAD", f"/v2/{NAME}/blobs/{digest}").status == (200 if right else 404)


# -- oras


@pytest.fixture
def oras(served: Served, shell: Run) -> Run:
    """oras, logged in to both registries."""
    program("oras")
    for registry in (DEV, PROD):
        says(shell, f"oras login --plain-http -u AWS -p {password(served)} localhost:{served.ports[registry]}")
    return shell


COPY = "oras cp --from-plain-http --to-plain-http"


@pytest.mark.clients
def test_oras_attaches_to_referrers_and_copies_the_graph(served: Served, oras: Run, tmp_path: Path) -> None:
    app = multi_arch("app")
    served.create()
    served.create(PROD)
    served.push(app, "v1")
    (tmp_path / "sbom.json").write_text("{}")
    (tmp_path / "sbom.sig").write_text("signed")

    def attach(kind: str, to: str, file: str) -> None:
        says(oras, f"cd {tmp_path} && oras attach --plain-http --artifact-type {kind} {address(served)}{to} {file}")

    def discovered(registry: EcrRegistry) -> list[Any]:
        line = f"oras discover --plain-http --format json {address(served, registry)}:v1"
        return list(json.loads(says(oras, line))["referrers"])

    attach("example/sbom", ":v1", "sbom.json")
    assert events_of(served, DEV.account)[-1] == ("ECR Referrer Action", "")
    (sbom,) = discovered(DEV)
    attach("example/signature", f"@{sbom['digest']}", "sbom.sig")
    (sbom,) = discovered(DEV)
    assert [found["artifactType"] for found in (sbom, *sbom["referrers"])] == ["example/sbom", "example/signature"]
    says(oras, f"{COPY} --recursive {address(served)}:v1 {address(served, PROD)}:v1")
    holds(served, app)
    (copied,) = discovered(PROD)
    assert [found["digest"] for found in (copied, *copied["referrers"])] == [
        found["digest"] for found in (sbom, *sbom["referrers"])
    ]
    listed = served.client(PROD).list_image_referrers(repositoryName=NAME, subjectId={"imageDigest": app.digest})
    assert [found["digest"] for found in listed["referrers"]] == [sbom["digest"]]
    assert says(oras, f"oras repo tags --plain-http {address(served, PROD)}").split() == ["v1"], "no fallback tag"


@pytest.mark.clients
def test_oras_pulls_what_it_pushed_and_an_immutable_tag_does_not_move(
    served: Served, oras: Run, tmp_path: Path
) -> None:
    served.create(imageTagMutability="IMMUTABLE")
    (tmp_path / "app.txt").write_text("hello")
    push = f"cd {tmp_path} && oras push --plain-http --artifact-type example/app {address(served)}:v1 app.txt"
    says(oras, push)
    says(oras, f"oras pull --plain-http -o {tmp_path}/out {address(served)}:v1")
    assert (tmp_path / "out" / "app.txt").read_text() == "hello"
    (tmp_path / "app.txt").write_text("another")
    status, said = oras(push)
    assert status == 1
    assert f"The image tag 'v1' already exists in the '{NAME}' repository and cannot be overwritten" in said


@pytest.mark.clients
def test_oras_mounts_within_a_registry_only_where_the_account_allows_it(served: Served, oras: Run) -> None:
    app = image("app")
    served.create()
    served.push(app, "v1")
    for name, value in (("team/sent", "DISABLED"), ("team/mounted", "ENABLED")):
        served.create(name=name)
        served.client().put_account_setting(name="BLOB_MOUNTING", value=value)
        said = says(oras, f"{COPY} {address(served)}:v1 {address(served, name=name)}:v1")
        assert said.count("Mounted") == (len(app.blobs) if value == "ENABLED" else 0)
        assert served.send("GET", f"/v2/{name}/manifests/v1").data == app.raw


@pytest.mark.clients
def test_oras_backs_up_to_a_layout_and_restores(served: Served, oras: Run, tmp_path: Path) -> None:
    app = multi_arch("app")
    signed = signature(app)
    served.create()
    served.create(PROD)
    served.push(app, "v1")
    served.push(signed)
    says(oras, f"oras backup --plain-http --include-referrers -o {tmp_path}/kept {address(served)}:v1")
    says(oras, f"oras restore --plain-http --input {tmp_path}/kept {address(served, PROD)}:v1")
    holds(served, app)
    holds(served, signed, signed.digest)
