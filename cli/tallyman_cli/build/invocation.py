"""The CI run that builds, for the provenance. Nothing of it goes into the image."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tallyman.domain.images.provenance import BUILD


@dataclass(frozen=True, slots=True)
class Invocation:
    """`builder`: a URI if it is a service; `id`, `url`: of the run; `person`: who started it."""

    builder: str = "tallyman build"
    id: str | None = None
    url: str | None = None
    person: str | None = None

    @property
    def annotations(self) -> dict[str, str]:
        """The annotations of the provenance, from which the ledger records the run; empty if the run has no id."""
        values = {"id": self.id, "url": self.url, "builder": self.builder, "person": self.person}
        return {BUILD + name: text for name, text in values.items() if text} if self.id else {}


def here(environ: Mapping[str, str] | None = None) -> Invocation:
    """The run of CodeBuild, GitHub Actions or GitLab, by its variables; elsewhere an invocation without an id."""
    env = os.environ if environ is None else environ
    if build := env.get("CODEBUILD_BUILD_ID"):
        person = env.get("CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID") or env.get("CODEBUILD_INITIATOR")
        url = env.get("CODEBUILD_PUBLIC_BUILD_URL") or _console(env.get("CODEBUILD_BUILD_ARN", ""))
        return Invocation("https://aws.amazon.com/codebuild/", build, url, person)
    if run := env.get("GITHUB_RUN_ID"):
        server = env.get("GITHUB_SERVER_URL", "https://github.com")
        url = f"{server}/{env.get('GITHUB_REPOSITORY', '')}/actions/runs/{run}"
        attempt = f"/attempts/{env['GITHUB_RUN_ATTEMPT']}" if env.get("GITHUB_RUN_ATTEMPT") else ""
        person = env.get("GITHUB_TRIGGERING_ACTOR") or env.get("GITHUB_ACTOR")
        return Invocation(f"{server}/actions/runner", f"{run}{attempt}", url + attempt, person)
    if job := env.get("CI_JOB_ID"):
        server = env.get("CI_SERVER_URL", "https://gitlab.com")
        return Invocation(server, job, env.get("CI_JOB_URL"), env.get("GITLAB_USER_LOGIN"))
    return Invocation()


def _console(arn: str) -> str | None:
    """The console's page of arn:aws:codebuild:REGION:ACCOUNT:build/PROJECT:ID; None outside the partition aws."""
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[1] != "aws" or not parts[5].startswith("build/"):
        return None
    region, account, build = parts[3], parts[4], parts[5].removeprefix("build/")
    console = f"https://{region}.console.aws.amazon.com/codesuite/codebuild/{account}"
    return f"{console}/projects/{build.partition(':')[0]}/build/{quote(build, safe='')}"
