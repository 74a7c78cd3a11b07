"""Finds what builds on this machine: `docker buildx` if it works, else plain `docker build`; and runs it."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from tallyman.errors import BadInput, Refused
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.shared import output

_ENVIRONMENT = {"BUILDX_METADATA_PROVENANCE": "min"}
"""Makes buildx write the images that it used into its metadata file."""


@dataclass(frozen=True, slots=True)
class Builder:
    """A builder. `name`: of buildx's builder, empty for plain `docker build`; `driver`: `docker` for the engine's own
    BuildKit, else of a separate one; `platforms`: those that it can run, empty if it does not say."""

    name: str = ""
    driver: str = ""
    platforms: frozenset[str] = frozenset()

    @property
    def apart(self) -> bool:
        """Whether it is a separate BuildKit: that does not see the engine's images, writes an OCI archive, and can keep
        its cache in a registry. The engine's own BuildKit and plain `docker build` add the image to the engine's."""
        return bool(self.name) and self.driver != "docker"

    def __str__(self) -> str:
        return (
            f"docker buildx, builder {self.name} ({self.driver})" if self.name else "docker build, for want of buildx"
        )

    def command(self) -> list[str]:
        """The beginning of the command line of a build. The builder makes no statements about the image, which would
        change its digest with each build; they are attached as referrers."""
        if not self.name:
            return ["docker", "build"]
        plain = ["--progress", "plain", "--provenance=false", "--sbom=false"]
        return ["docker", "buildx", "build", "--builder", self.name, *plain]

    def caching(self, cache: str) -> list[str]:
        """The options that keep the cache in a repository of its own. A cache that can't be read or written fails no
        build; ECR takes a cache only as an image manifest."""
        to = "mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"
        return ["--cache-from", f"type=registry,ref={cache}", "--cache-to", f"type=registry,ref={cache},{to}"]


def find() -> Builder:
    """The builder that buildx would use (`docker buildx use`, BUILDX_BUILDER) if it starts, else the engine's own, else
    plain `docker build`. Raises BadInput if docker is not installed."""
    if _words(["docker", "buildx", "version"]) is None:
        return Builder()
    for name in (os.environ.get("BUILDX_BUILDER", ""), "default"):
        printed = _words(["docker", "buildx", "inspect", "--bootstrap", *([name] if name else [])])
        if printed is not None and (found := _read(printed)).name:
            return found
        output.say(f"the builder {name or 'in use'} does not start: docker buildx inspect --bootstrap says why")
    return Builder()


def _read(printed: str) -> Builder:
    """Parse `docker buildx inspect`. The first name is the builder's, later ones are its nodes'."""
    fields: dict[str, str] = {}
    platforms: set[str] = set()
    for line in printed.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
        if key.strip() == "Platforms":
            platforms |= {each.strip().rstrip("*") for each in value.split(",") if each.strip()}
    return Builder(fields.get("Name", ""), fields.get("Driver", ""), frozenset(platforms))


def _words(command: Sequence[str]) -> str | None:
    """The output of a command; None: it fails. Raises BadInput if the program is not installed."""
    try:
        done = subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        raise BadInput(f"{command[0]} is not installed") from None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def run(command: Sequence[str], given: bytes = b"") -> str:
    """Run a program. Return its stdout and stderr. Raises Refused, with the end of its output, if it fails."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, env=os.environ | _ENVIRONMENT)
    except FileNotFoundError:
        raise BadInput(f"{command[0]} is not installed") from None
    said = done.stderr.decode(errors="replace")
    if done.returncode:
        words = (said or done.stdout.decode(errors="replace")).strip()
        name = " ".join(word for word in command[:3] if not word.startswith("-"))
        raise Refused(f"{name} failed: {words[-1500:]}")
    return done.stdout.decode(errors="replace") + said


def dockerfile_of(checkout: Checkout) -> str:
    """The text of the committed Dockerfile. Raises BadInput if there is none, or it is not UTF-8."""
    file = checkout.folder / "Dockerfile"
    raw = checkout.file("Dockerfile")
    if raw is None:
        there = f"{file} is not committed: git add Dockerfile" if file.exists() else f"there is no {file}"
        raise BadInput(there)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file} is not UTF-8 ({error.reason}), the only encoding that builders read") from None
