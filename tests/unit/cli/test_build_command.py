"""`tallyman build` with a scripted docker: how each builder is used, and what happens to its output."""

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.docker import scripted_docker
from support.fakes.cli_stack import FakeStack
from support.images import signing
from support.images.builders import DEV
from tallyman.domain.images.claims import claims
from tallyman.domain.images.manifest import Manifest
from tallyman.domain.names import Digest
from tallyman_origin import Trust, verify_bundle
from tallyman_origin.keys import from_pem

NAME = "rocketseat/widget-server"
CI = ("CODEBUILD_WEBHOOK_HEAD_REF", "GITHUB_REF", "CI_COMMIT_BRANCH", "CODEBUILD_BUILD_ID", "GITHUB_RUN_ID",
      "CI_JOB_ID", "BUILDX_BUILDER")  # fmt: skip
APART: dict[str, str | None] = {"": "docker-container"}
ENGINE: dict[str, str | None] = {"": "docker"}


@dataclass
class Builds:
    """Builds of one checkout. `said`: stderr of the last one."""

    system: FakeStack
    folder: Path
    tools: Path
    said: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    def docker(self, buildx: Mapping[str, str | None] | None, mtime: int = 1_700_000_000, **more: Any) -> None:
        """Set docker's answers from now on."""
        (self.tools / "says.json").write_text(json.dumps({"buildx": buildx, "mtime": mtime, **more}))

    def __call__(self, *options: str, status: int = 0) -> dict[str, Any]:
        command = ["build", str(self.folder), "--repository", NAME, "--json", *options]
        path = f"{self.tools}:{os.environ['PATH']}"
        result = self.system.run(*command, PATH=path, **self.environment)
        self.said = result.stderr
        assert result.exit_code == status, result.output
        return json.loads(result.stdout) if status == 0 else {}

    def made(self) -> list[list[str]]:
        """The builds of the image itself, without those that only resolve its base."""
        return [call for call in scripted_docker.calls(self.tools) if "build" in call[:2] and "--label" in call]

    def manifest(self, digest: str) -> Manifest:
        """The manifest that was pushed."""
        found = self.system.registries.manifest(DEV, digest)
        assert found is not None
        return found

    def git(self, *words: str) -> None:
        """Run git in the checkout."""
        settings = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", "-C", self.folder, *settings, *words], capture_output=True, check=True)


@pytest.fixture
def builds(system: FakeStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builds:
    for name in CI:
        monkeypatch.delenv(name, raising=False)
    tools, folder = tmp_path / "tools", tmp_path / "app"
    tools.mkdir()
    folder.mkdir()
    (tools / "docker").write_text(scripted_docker.script(tools))
    (tools / "docker").chmod(0o755)
    (folder / "Dockerfile").write_text("FROM debian:13\nCOPY app.py /srv/\n")
    made = Builds(system, folder, tools)
    made.git("init", "-q", "-b", "main")
    made.git("add", ".")
    made.git("commit", "-q", "-m", "one")
    return made


def test_buildx_exports_an_archive_without_attestations_and_with_a_separate_cache(builds: Builds) -> None:
    builds.docker(APART)
    reported = builds("--push", "--cache", f"{NAME}-parts")
    assert reported["state"] == "pushed"
    (call,) = builds.made()
    assert call[:4] == ["buildx", "build", "--builder", "mine"]
    assert {"--provenance=false", "--sbom=false"} <= set(call)
    ref = f"type=registry,ref={DEV.registry.host}/{NAME}-parts:cache-rocketseat-widget-server-linux-amd64"
    assert call[call.index("--cache-from") + 1] == ref
    assert call[call.index("--cache-to") + 1] == (
        f"{ref},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
    )
    manifest = builds.manifest(reported["digest"])
    assert manifest.layers[0].digest == Digest.of(scripted_docker.BASE)  # as stored in its registry
    assert len(builds.system.registries.referrers(DEV, manifest.digest)) == 2


def test_the_engines_own_builder_gets_no_cache_export(builds: Builds) -> None:
    builds.docker(ENGINE)
    reported = builds("--push", "--cache", f"{NAME}-parts")
    (call,) = builds.made()
    assert "--load" in call
    assert "--cache-to" not in call
    assert "that needs a separate BuildKit" in builds.said
    assert reported["state"] == "pushed"


def test_without_buildx_docker_build_is_used(builds: Builds) -> None:
    builds.docker(None)
    builds("--push")
    (call,) = builds.made()
    assert call[0] == "build"
    assert not any(word.startswith(("--provenance", "--load", "--output")) for word in call)
    assert "for want of buildx" in builds.said


def test_a_builder_that_does_not_start_is_reported_and_the_engines_own_used(builds: Builds) -> None:
    builds.docker({"": None, "default": "docker"})
    builds()
    assert "the builder in use does not start" in builds.said
    assert builds.made()[0][:4] == ["buildx", "build", "--builder", "default"]
    builds.docker({"": None, "default": None})
    builds()
    assert builds.made()[1][0] == "build"


@pytest.mark.parametrize("buildx", [APART, ENGINE, None], ids=["apart", "engine", "plain"])
def test_the_age_of_a_cached_step_changes_no_digest(builds: Builds, buildx: Mapping[str, str | None]) -> None:
    digests = set()
    for mtime in (1_000_000_000, 1_700_000_031, 1_900_000_002):
        builds.docker(buildx, mtime)
        digests.add(builds()["digest"])
    assert len(digests) == 1


def test_a_cache_that_fails_the_build_is_skipped_and_reported(builds: Builds) -> None:
    builds.docker(APART, fail={"options": ["--cache-to"], "words": "ERROR: unknown cache option ignore-error"})
    assert builds("--push", "--cache", "cache")["state"] == "pushed"
    assert "built without it: docker buildx build failed: ERROR: unknown cache option" in builds.said
    assert ["--cache-to" in call for call in builds.made()] == [True, False]


def test_a_failed_cache_export_is_reported_but_not_a_missing_first_cache(builds: Builds) -> None:
    note = "#3 ERROR: failed to configure registry cache importer: x: not found\n#7 ERROR: writing layer: denied"
    builds.docker(APART, note=note)
    builds("--push", "--cache", "cache")
    assert "writing layer: denied" in builds.said
    assert "importer" not in builds.said


def test_a_failed_build_has_its_output_and_is_not_retried(builds: Builds) -> None:
    builds.docker(APART, fail={"options": ["--label"], "words": "RUN make: exit code 2"})
    builds("--push", "--cache", "kept", status=1)
    assert "RUN make: exit code 2" in builds.said
    assert len(builds.made()) == 1
    assert builds.system.registries.describe(DEV, []) == []


@pytest.mark.parametrize("buildx", [APART, None], ids=["apart", "plain"])
def test_several_platforms_are_built_one_by_one_and_joined_in_an_index(
    builds: Builds, buildx: Mapping[str, str | None]
) -> None:
    builds.docker(buildx)
    reported = builds("--push", "--platform", "linux/amd64,linux/arm64")
    index = builds.manifest(reported["tags"][0])
    assert index.digest == reported["digest"]
    assert [str(child.platform) for child in index.children] == ["linux/amd64", "linux/arm64"]
    digests = [*(child.digest for child in index.children), index.digest]
    assert [len(builds.system.registries.referrers(DEV, digest)) for digest in digests] == [2, 2, 1]
    assert ("the builder can't run linux/arm64" in builds.said) == (buildx is APART)


def test_a_part_of_an_index_has_one_platform(builds: Builds) -> None:
    builds.docker(APART)
    builds("--push", "--platform", "linux/amd64,linux/arm64", "--parts", "parts", status=2)
    assert "--parts is for one platform" in builds.said


def test_a_builder_with_unrequested_output_is_refused(builds: Builds) -> None:
    builds.docker(APART, images=2)
    builds(status=1)
    assert "made 2 images where one was asked for" in builds.said


def test_build_details_are_attached_to_the_image_and_never_inside_it(builds: Builds) -> None:
    builds.docker(APART)
    plain = builds()["digest"]
    builds.environment = {
        "CODEBUILD_BUILD_ID": "tallyman-build:8f2b",
        "CODEBUILD_BUILD_ARN": "arn:aws:codebuild:us-east-2:111111111111:build/tallyman-build:8f2b",
        "CODEBUILD_INITIATOR": "ana",
    }
    reported = builds("--push")
    assert reported["digest"] == plain
    digests = [found.digest for found in builds.system.registries.referrers(DEV, Digest(reported["digest"]))]
    notes = [builds.manifest(digest).annotations for digest in digests]
    (said,) = [each for each in notes if "tallyman.build.id" in each]
    assert said == {
        "in-toto.io/predicate-type": "https://slsa.dev/provenance/v1",
        "tallyman.build.id": "tallyman-build:8f2b",
        "tallyman.build.url": "https://us-east-2.console.aws.amazon.com/codesuite/codebuild/111111111111/projects/"
        "tallyman-build/build/tallyman-build%3A8f2b",
        "tallyman.build.builder": "https://aws.amazon.com/codebuild/",
        "tallyman.build.person": "ana",
    }


def said_of(builds: Builds, digest: str, kind: str) -> list[dict[str, Any]]:
    """The documents of a type about an image."""
    found = []
    for each in builds.system.registries.referrers(DEV, Digest(digest)):
        manifest = builds.manifest(each.digest)
        if manifest.artifact_type == kind:
            with builds.system.registries.open_blob(DEV, manifest.layers[0].digest) as stream:
                found.append(json.loads(b"".join(stream)))
    return found


def dependencies(builds: Builds, digest: str) -> list[dict[str, Any]]:
    """The provenance's dependencies, without the commit."""
    (statement,) = said_of(builds, digest, "application/vnd.in-toto+json")
    found: list[dict[str, Any]] = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    return found[1:]


@pytest.mark.parametrize("version", ["materials", "resolvedDependencies"])
def test_the_materials_reported_by_buildx_are_in_the_provenance(builds: Builds, version: str) -> None:
    used = [
        {"uri": "pkg:docker/debian@13?platform=linux%2Famd64", "digest": {"sha256": "1" * 64}},
        {"uri": f"pkg:docker/ghcr.io/a/b@1?digest=sha256:{'2' * 64}&platform=linux%2Famd64"},
        {"uri": "https://example.com/x.tar", "digest": {"sha256": "3" * 64}},
    ]
    predicate = {"materials": used} if version == "materials" else {"buildDefinition": {version: used}}
    builds.docker(APART, metadata={"buildx.build.provenance": predicate, "buildx.build.ref": "x"})
    assert dependencies(builds, builds("--push")["digest"]) == [
        {"uri": "debian:13", "digest": {"sha256": "1" * 64}},
        {"uri": "ghcr.io/a/b:1", "digest": {"sha256": "2" * 64}},
    ]


@pytest.mark.parametrize(
    "metadata", [{}, {"buildx.build.provenance": {}}, [], {"buildx.build.provenance": {"materials": [1]}}]
)
def test_without_buildx_metadata_the_dockerfile_gives_the_materials(builds: Builds, metadata: Any) -> None:
    (builds.folder / "Dockerfile").write_text("# escape=`\nFROM debian:${V:-13}\nCOPY <<EOF /x\nFROM b\nEOF\n")
    builds.git("commit", "-qam", "two")
    builds.docker(APART, metadata=metadata)
    assert dependencies(builds, builds("--push")["digest"]) == [{"uri": "debian:13"}]


def test_a_build_without_packages_has_no_sbom_and_says_so(builds: Builds) -> None:
    (builds.folder / "Dockerfile").write_text("FROM scratch\nCOPY app.py /srv/\n")
    builds.git("commit", "-qam", "two")
    builds.docker(APART)
    digest = builds("--push")["digest"]
    assert said_of(builds, digest, "application/spdx+json") == []
    assert "no SBOM: no package was found inside" in builds.said


def test_a_scanners_sbom_is_attached_unchanged(builds: Builds, tmp_path: Path) -> None:
    document = {"bomFormat": "CycloneDX", "components": [{"type": "library", "name": "a", "version": "1"}]}
    (tmp_path / "bom.json").write_text(json.dumps(document))
    builds.docker(APART)
    digest = builds("--push", "--sbom", str(tmp_path / "bom.json"))["digest"]
    assert said_of(builds, digest, "application/vnd.cyclonedx+json") == [document]
    assert said_of(builds, digest, "application/spdx+json") == []
    builds("--push", "--sbom", str(tmp_path / "none.json"), status=2)
    builds("--push", "--sbom", str(tmp_path / "bom.json"), "--platform", "linux/amd64,linux/arm64", status=2)


def test_doubts_about_the_version_are_reported(builds: Builds) -> None:
    builds.docker(APART)
    builds()
    assert "the version is in doubt: no version tag in this clone" in builds.said
    builds.git("tag", "v1.0.0")
    builds()
    assert "in doubt" not in builds.said


def test_a_dockerfile_that_was_not_committed_is_bad_input(builds: Builds) -> None:
    builds.git("rm", "-q", "--cached", "Dockerfile")
    builds.git("commit", "-qm", "two", "--allow-empty")
    builds.docker(APART)
    builds(status=2)
    assert "Dockerfile is not committed: git add Dockerfile" in builds.said


def test_a_missing_base_image_is_reported_with_advice(builds: Builds) -> None:
    builds.docker(
        APART, fail={"options": ["--label"], "words": "debian:13: pull access denied, repository does not exist"}
    )
    builds("--push", status=1)
    assert "the base image debian:13 is neither on this machine nor to be had from its registry" in builds.said


def test_the_printed_address_can_be_pulled(builds: Builds) -> None:
    builds.docker(APART)
    reported = builds("--push")
    assert reported["images"] == [f"{DEV.registry.host}/{DEV.name}@{reported['digest']}"]
    builds.environment = {"TALLYMAN_REGISTRY_DEV_1": "localhost:5001"}
    assert builds("--push")["images"] == [f"localhost:5001/{DEV.name}@{reported['digest']}"]


def test_with_a_key_provenance_and_sbom_are_signed_in_statements(builds: Builds, tmp_path: Path) -> None:
    key = signing.new_key()
    (tmp_path / "key.pem").write_bytes(signing.private_pem(key))
    (tmp_path / "sbom.json").write_text(json.dumps({"spdxVersion": "SPDX-2.3", "packages": [{"SPDXID": "a"}]}))
    builds.docker(APART)
    answer = builds("--push", "--sign", str(tmp_path / "key.pem"), "--sbom", str(tmp_path / "sbom.json"))
    registries, trust = builds.system.registries, Trust({"mine": from_pem(signing.pem(key))})
    found = {}
    for entry in registries.referrers(DEV, Digest(answer["digest"])):
        manifest = builds.manifest(entry.digest)
        if manifest.artifact_type == "application/vnd.dev.sigstore.bundle.v0.3+json":
            with registries.open_blob(DEV, manifest.layers[0].digest) as stream:
                signed = verify_bundle(answer["digest"], b"".join(stream), trust)
            assert signed.keys == ("mine",)
            assert signed.predicate is not None
            kind, predicate = signed.predicate
            assert manifest.annotations["dev.sigstore.bundle.predicateType"] == kind
            found[kind] = predicate
    assert found["https://spdx.dev/Document"]["spdxVersion"] == "SPDX-2.3"
    said = claims("https://slsa.dev/provenance/v1", found["https://slsa.dev/provenance/v1"])
    assert said is not None
    assert said.ref == "refs/heads/main"
    assert len(found) == 2


def test_an_invalid_key_and_signing_without_a_push_are_bad_input(builds: Builds, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    for options, why in (
        (("--push", "--sign", str(tmp_path / "key.pem")), "a private key as PEM"),
        (("--push", "--sign", str(tmp_path / "none.pem")), "can't be read"),
        (("--push", "--sign", "arn:aws:s3:::bucket"), "the ARN of a key of KMS"),
        (("--sign", str(tmp_path / "key.pem")), "--sign needs --push"),
    ):
        builds(*options, status=2)
        assert why in builds.said
    assert builds.made() == []
