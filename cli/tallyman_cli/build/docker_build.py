"""Builds one image of one platform from a commit."""

import json
import re
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tallyman.errors import Refused
from tallyman_cli.build.builder import Builder, dockerfile_of, run
from tallyman_cli.build.built_image import BuiltImage, Finish, layout_manifest
from tallyman_cli.build.checkout import Checkout
from tallyman_cli.build.context import archive
from tallyman_cli.build.dockerfile import base_alone, bases
from tallyman_cli.build.metadata import bases as used_bases
from tallyman_cli.shared import output


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to build an image. `cache`: where the builder keeps its cache (HOST/NAME:TAG), if it is a separate BuildKit;
    others have none."""

    builder: Builder
    checkout: Checkout
    labels: Mapping[str, str]
    platform: str | None = None
    cache: str | None = None

    def build(self, scratch: Path) -> BuiltImage:
        """Build the image. Raises Refused, with the end of the builder's output, if it fails. Cost: the build, a
        second one of the base image alone, to know its layers, and that of `Finish`."""
        dockerfile = dockerfile_of(self.checkout)
        alone = base_alone(dockerfile)
        # Without a base image a builder may write its own platform into the configuration.
        platform = None if alone else self.platform
        labels = [word for name, value in self.labels.items() for word in ("--label", f"{name}={value}")]
        try:
            made = self._run(
                archive(self.checkout), scratch / "image", labels, self.cache if self.builder.apart else None
            )
        except Refused as error:
            raise Refused(f"{error}{_absent_base(str(error), dockerfile)}") from None
        base = self._layers(self._run(alone.encode(), scratch / "base")) if alone else ()
        finish = Finish(self.checkout.at, self.labels, scratch, base, platform)
        if self.builder.apart:
            built = finish.from_layout(made)
        else:
            saved = scratch / "image.tar"
            run(["docker", "save", "--output", str(saved), made.read_text().strip()])
            built = finish.from_saved(saved)
            saved.unlink()
        made.unlink()
        used = used_bases(metadata_of(scratch / "image")) or bases(dockerfile, platform_arguments(built.platform))
        return replace(built, bases=used)

    def _run(self, context: bytes, made: Path, more: Sequence[str] = (), cache: str | None = None) -> Path:
        """Run the builder. Return `made`, which then is the OCI archive, or a file with the image's id."""
        command = [*self.builder.command(), *more]
        if self.builder.apart:
            command += ["--output", f"type=oci,dest={made},compression=gzip"]
        else:
            command += ["--iidfile", str(made), *(["--load"] if self.builder.name else [])]
        if self.builder.name:
            command += ["--metadata-file", str(metadata_of(made))]
        command += ["--build-arg", f"SOURCE_DATE_EPOCH={int(self.checkout.at.timestamp())}"]
        if self.platform:
            command += ["--platform", self.platform]
        if cache is None:
            run([*command, "-"], context)
            return made
        try:
            said = run([*command, *self.builder.caching(cache), "-"], context)
        except Refused as error:
            if "cache" not in str(error).lower():
                raise
            output.say(f"the cache {cache} can't be used; built without it: {str(error).splitlines()[-1]}")
            run([*command, "-"], context)
        else:
            for words in re.findall(r"^#\d+ ERROR: (.+)$", said, re.MULTILINE):
                # Errors of other steps would have failed the build. A cache that does not exist yet is no error.
                if not ("importer" in words and "not found" in words):
                    output.say(f"the cache {cache}: {words}")
        return made

    def _layers(self, base: Path) -> Collection[str]:
        """The layers of the base image, as the builder names them."""
        if self.builder.apart:
            with tarfile.open(base) as layout:
                found = [str(layer["digest"]) for layer in layout_manifest(layout)["layers"]]
            base.unlink()
            return found
        printed = run(["docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", base.read_text().strip()])
        return list(json.loads(printed.strip().splitlines()[0]) or ())


def metadata_of(made: Path) -> Path:
    """The metadata file of a build, which buildx writes."""
    return made.with_suffix(".metadata.json")


def platform_arguments(platform: Mapping[str, str]) -> dict[str, str]:
    """The variables that a builder sets for the target platform."""
    named = {"TARGETOS": "os", "TARGETARCH": "architecture", "TARGETVARIANT": "variant"}
    found = {variable: platform[key] for variable, key in named.items() if platform.get(key)}
    return found | {"TARGETPLATFORM": "/".join(found.values())}


_ABSENT = re.compile(r"pull access denied|failed to resolve source metadata|manifest unknown|not found: does not exist")


def _absent_base(words: str, dockerfile: str) -> str:
    """What to do if a builder found no base image, which its own message calls a lack of access; else empty."""
    if not _ABSENT.search(words):
        return ""
    used = bases(dockerfile)
    named = ", ".join([base.image for base in used if base.image in words] or [base.image for base in used])
    todo = "log in there, or make it first; the Dockerfile's comments may say how"
    return f"\nthe base image {named} is neither on this machine nor to be had from its registry: {todo}"
