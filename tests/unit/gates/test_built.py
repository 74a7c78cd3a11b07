"""The content of a provenance (GitHub, GitLab, tallyman build), and the requirements that a policy may set."""

from typing import Any

import pytest

from support.fakes.gate_cases import policy_of
from tallyman.domain.images.claims import Claims, claims, source_of
from tallyman.errors import PolicyError

SOURCE = "https://github.com/rocketseat/widget-server"
COMMIT = "3f" * 20
GITHUB: dict[str, Any] = {
    "buildDefinition": {
        "buildType": "https://actions.github.io/buildtypes/workflow/v1",
        "externalParameters": {
            "workflow": {"ref": "refs/heads/main", "repository": SOURCE, "path": ".github/workflows/release.yml"}
        },
        "resolvedDependencies": [{"uri": f"git+{SOURCE}@refs/heads/main", "digest": {"gitCommit": COMMIT}}],
    },
    "runDetails": {"builder": {"id": f"{SOURCE}/.github/workflows/release.yml@refs/heads/main"}},
}
GITLAB = {
    "buildDefinition": {
        "buildType": "https://gitlab.com/gitlab-org/gitlab-runner/-/blob/v17/PROVENANCE.md",
        "externalParameters": {
            "source": "https://gitlab.com/rocketseat/widget-server",
            "variables": {"CI_COMMIT_BRANCH": "main", "CI_COMMIT_REF_NAME": "main"},
        },
        "resolvedDependencies": [{"uri": "https://gitlab.com/rocketseat/widget-server", "digest": {"sha256": COMMIT}}],
    },
    "runDetails": {"builder": {"id": "https://gitlab.com/rocketseat/widget-server/-/runners/1"}},
}
OLD = {
    "builder": {"id": "https://github.com/slsa-framework/generator@v2"},
    "invocation": {"configSource": {"uri": f"git+{SOURCE}@refs/tags/v1.0.0", "digest": {"sha1": COMMIT}}},
}


@pytest.mark.parametrize(
    ("kind", "predicate", "said"),
    [
        ("v1", GITHUB, (f"{SOURCE}/.github/workflows/release.yml@refs/heads/main", SOURCE, "refs/heads/main", COMMIT)),
        (
            "v1",
            GITLAB,
            (
                "https://gitlab.com/rocketseat/widget-server/-/runners/1",
                "https://gitlab.com/rocketseat/widget-server",
                "refs/heads/main",
                COMMIT,
            ),
        ),
        ("v0.2", OLD, ("https://github.com/slsa-framework/generator@v2", SOURCE, "refs/tags/v1.0.0", COMMIT)),
    ],
)
def test_the_content_of_each_provenance_is_read(kind: str, predicate: Any, said: tuple[str, ...]) -> None:
    assert claims(f"https://slsa.dev/provenance/{kind}", predicate) == Claims(*said)


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"buildDefinition": [], "runDetails": "x"},
        {"buildDefinition": {"externalParameters": {"workflow": {"ref": ["refs/heads/main"], "repository": 1}}}},
        {"buildDefinition": {"externalParameters": {"source": "x" * 1000, "ref": "main"}}},
        {"builder": None, "invocation": {"configSource": {"uri": 7}}},
    ],
)
def test_missing_fields_of_a_provenance_are_empty(predicate: Any) -> None:
    assert claims("https://slsa.dev/provenance/v1", predicate) == Claims()


def test_another_document_gives_no_provenance() -> None:
    assert claims("https://spdx.dev/Document", GITHUB) is None
    other = {**GITHUB["buildDefinition"], "resolvedDependencies": [{"uri": "https://x/y", "digest": {"sha1": COMMIT}}]}
    said = claims("https://slsa.dev/provenance/v1", {**GITHUB, "buildDefinition": other})
    assert said is not None
    assert said.commit is None  # of another material


@pytest.mark.parametrize("uri", [f"git+{SOURCE}.git@refs/heads/main", f"{SOURCE}/", f"{SOURCE}.git", SOURCE])
def test_every_spelling_of_a_repository_is_the_same(uri: str) -> None:
    assert source_of(uri) == SOURCE


@pytest.mark.parametrize(
    ("built", "wrong"),
    [
        ({}, "at least one of by, from and branch"),
        ({"on": "index"}, "at least one of by, from and branch"),
        ({"from": ["widget-server"]}, "the URL of a repository"),
        ({"branch": []}, "at least 1"),
        ({"branch": ["main"], "keys": ["x"]}, "a public key as PEM"),
        ({"branch": ["main"], "roots": f"sha256:{'0' * 64}"}, "name them here"),
        (True, "a build, as in"),
    ],
)
def test_invalid_policies_are_refused(built: Any, wrong: str) -> None:
    with pytest.raises(PolicyError, match=wrong):
        policy_of({"built": built})
