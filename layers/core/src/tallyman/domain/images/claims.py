"""Claims of a provenance about a build: the builder, the source repository, the branch or tag, and the commit.

Reads SLSA provenance 1.0 (tallyman build, GitHub's artifact attestations, GitLab's runner) and 0.2. A predicate is only
as trustworthy as its signer: no claim counts before the signature was verified.
"""

from tallyman.domain.images.documents import Json, objects, part
from tallyman.values import value

SLSA = "https://slsa.dev/provenance/"
LONGEST = 500
"""The largest number of characters of a claim; a longer one is dropped."""


@value
class Claims:
    """The claims of one provenance. `source`: the repository's URL, without `git+`, `.git` and a reference; `ref`:
    `refs/heads/…` or `refs/tags/…`. None: not stated, or in an unknown form."""

    builder: str | None = None
    source: str | None = None
    ref: str | None = None
    commit: str | None = None


def claims(kind: str, predicate: Json) -> Claims | None:
    """The claims of a predicate of the type `kind`; None: it is not a provenance."""
    if not kind.startswith(SLSA):
        return None
    return _version_1(predicate) if "buildDefinition" in predicate else _version_0(predicate)


def _version_1(predicate: Json) -> Claims:
    definition, run = part(predicate, "buildDefinition"), part(predicate, "runDetails")
    external = part(definition, "externalParameters")
    workflow, variables = part(external, "workflow"), part(external, "variables")
    source = _text(workflow.get("repository")) or _text(external.get("source"))
    ref = _text(workflow.get("ref")) or _text(external.get("ref")) or _of_gitlab(variables)
    dependencies = objects(definition, "resolvedDependencies")
    built_from = next((each for each in dependencies if source_of(each.get("uri"))), {})
    digest = part(built_from, "digest")
    same = source_of(built_from.get("uri")) == source_of(source)  # else it is the commit of another material
    commit = (digest.get("gitCommit") or digest.get("sha1") or digest.get("sha256")) if same else None
    builder = _text(part(run, "builder").get("id"))
    return Claims(builder, source_of(source), _ref(ref), _text(commit or external.get("revision")))


def _version_0(predicate: Json) -> Claims:
    invocation = part(predicate, "invocation")
    source, variables = part(invocation, "configSource"), part(invocation, "parameters")
    uri = _text(source.get("uri"))
    ref = uri.rpartition("@")[2] if uri and "@refs/" in uri else _of_gitlab(variables)
    digest = part(source, "digest")
    commit = digest.get("sha1") or digest.get("gitCommit") or digest.get("sha256")
    return Claims(_text(part(predicate, "builder").get("id")), source_of(uri), _ref(ref), _text(commit))


def _of_gitlab(variables: Json) -> str | None:
    tag, branch = _text(variables.get("CI_COMMIT_TAG")), _text(variables.get("CI_COMMIT_BRANCH"))
    return f"refs/tags/{tag}" if tag else f"refs/heads/{branch}" if branch else None


def source_of(uri: object) -> str | None:
    """The URL of a repository: `https://host/owner/name` for `git+https://host/owner/name.git@refs/heads/main`; None:
    `uri` is not a URL."""
    text = (_text(uri) or "").removeprefix("git+")
    scheme, found, rest = text.partition("://")
    return f"{scheme}://{rest.split('@', 1)[0].rstrip('/').removesuffix('.git')}" if found and rest else None


def _ref(text: str | None) -> str | None:
    return text if text and text.startswith(("refs/heads/", "refs/tags/")) else None


def _text(given: object) -> str | None:
    return given if isinstance(given, str) and 0 < len(given) <= LONGEST else None
