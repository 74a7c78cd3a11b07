"""What a provenance says of a build: who built it, from which repository, which branch or tag, which commit.

Read are SLSA provenance 1.0 (tallyman build, GitHub's artifact attestations, GitLab's runner) and 0.2. The predicate is
whoever's who signed it: none of it counts before the signature was verified.
"""

from collections.abc import Mapping
from typing import Any

from tallyman.values import value

SLSA = "https://slsa.dev/provenance/"
LONGEST = 500
"""Characters of a claim that are kept; a longer one is none."""

Json = Mapping[str, Any]


@value
class Claims:
    """`source`: the repository's URL, without `git+`, `.git` and a reference; `ref`: `refs/heads/…` or `refs/tags/…`;
    None: it does not say, or not in a form that is read."""

    builder: str | None = None
    source: str | None = None
    ref: str | None = None
    commit: str | None = None

    def as_json(self) -> dict[str, str | None]:
        """As a fact keeps it."""
        return {"builder": self.builder, "source": self.source, "ref": self.ref, "commit": self.commit}


def claims(kind: str, predicate: Json) -> Claims | None:
    """Of a predicate of this type; None: it is no provenance."""
    if not kind.startswith(SLSA):
        return None
    return _version_1(predicate) if "buildDefinition" in predicate else _version_0(predicate)


def _version_1(predicate: Json) -> Claims:
    definition, run = _part(predicate, "buildDefinition"), _part(predicate, "runDetails")
    external = _part(definition, "externalParameters")
    workflow, variables = _part(external, "workflow"), _part(external, "variables")
    source = _text(workflow.get("repository")) or _text(external.get("source"))
    ref = _text(workflow.get("ref")) or _text(external.get("ref")) or _of_gitlab(variables)
    built_from = next((each for each in _list(definition, "resolvedDependencies") if source_of(each.get("uri"))), {})
    digest = _part(built_from, "digest")
    same = source_of(built_from.get("uri")) == source_of(source)  # the code's, not that of another material
    commit = (digest.get("gitCommit") or digest.get("sha1") or digest.get("sha256")) if same else None
    builder = _text(_part(run, "builder").get("id"))
    return Claims(builder, source_of(source), _ref(ref), _text(commit or external.get("revision")))


def _version_0(predicate: Json) -> Claims:
    source = _part(predicate, "invocation", "configSource")
    uri, variables = _text(source.get("uri")), _part(predicate, "invocation", "parameters")
    ref = uri.rpartition("@")[2] if uri and "@refs/" in uri else _of_gitlab(variables)
    digest = _part(source, "digest")
    commit = digest.get("sha1") or digest.get("gitCommit") or digest.get("sha256")
    return Claims(_text(_part(predicate, "builder").get("id")), source_of(uri), _ref(ref), _text(commit))


def _of_gitlab(variables: Json) -> str | None:
    tag, branch = _text(variables.get("CI_COMMIT_TAG")), _text(variables.get("CI_COMMIT_BRANCH"))
    return f"refs/tags/{tag}" if tag else f"refs/heads/{branch}" if branch else None


def source_of(uri: object) -> str | None:
    """The URL of a repository: `git+https://host/owner/name.git@refs/heads/main` is `https://host/owner/name`."""
    text = (_text(uri) or "").removeprefix("git+")
    scheme, found, rest = text.partition("://")
    return f"{scheme}://{rest.split('@', 1)[0].rstrip('/').removesuffix('.git')}" if found and rest else None


def _ref(text: str | None) -> str | None:
    return text if text and text.startswith(("refs/heads/", "refs/tags/")) else None


def _part(document: Json, *path: str) -> Json:
    found: Any = document
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(document: Json, key: str) -> list[Json]:
    found = document.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _text(given: object) -> str | None:
    return given if isinstance(given, str) and 0 < len(given) <= LONGEST else None
