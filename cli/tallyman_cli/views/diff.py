"""Two images compared: platforms, layers, packages, configuration, findings, size."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tallyman.domain.history.details.referrers import Referred
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.manifest import Descriptor
from tallyman.domain.names import Digest, Repository
from tallyman_cli.shared import addresses, naming
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import contents as read_contents
from tallyman_cli.views import findings as all_findings
from tallyman_cli.views.contents import Contents
from tallyman_cli.views.image import config
from tallyman_cli.views.record import newest_scan


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two images: its name as written, its contents, and the facts of each platform image."""

    text: str
    inside: Contents
    facts: Mapping[Digest, Sequence[Fact]]

    @classmethod
    def named(cls, stack: Stack, text: str) -> "Side":
        """Read an IMAGE. Raises BadName, NotFound."""
        image = addresses.image(stack.policy, text)
        return cls.of(stack, text, image.place, naming.digest_of(stack, image))

    @classmethod
    def of(cls, stack: Stack, text: str, place: Repository, digest: Digest) -> "Side":
        """Read an image. Cost: as `contents.load`, and a Query for each platform image."""
        inside = read_contents.load(stack, place, digest)
        wanted = {digest, *(d for _, d in inside.images())}
        return cls(text, inside, {d: stack.ledger.of_digest(d) for d in wanted})

    @property
    def images(self) -> dict[str, Digest]:
        """Digest by platform; the first of each."""
        found: dict[str, Digest] = {}
        for name, digest in self.inside.images():
            found.setdefault(name, digest)
        return found

    @property
    def size(self) -> int | None:
        """Compressed bytes of all images."""
        sizes = [self.inside.size(d) for d in self.images.values()]
        return sum(s for s in sizes if s is not None) if sizes and None not in sizes else None

    def packages(self, stack: Stack, image: Digest) -> dict[str, str] | None:
        """The packages of a platform image, as its SBOMs name them; None: it has no SBOM that can be read."""
        facts = [*self.facts.get(image, ()), *self.facts.get(self.inside.digest, ())]
        referrers = [Digest(r.referrer) for r in Referred.of(f for f in facts if f.kind is Kind.REFERRED)]
        return read_contents.packages(stack, self.inside, image, list(dict.fromkeys(referrers)))

    def as_data(self) -> dict[str, Any]:
        """The side as JSON: `{image, digest, size, platforms, missing}`."""
        return {
            "image": self.text,
            "digest": self.inside.digest,
            "size": self.size,
            "platforms": list(self.images),
            "missing": {digest: str(error) for digest, error in self.inside.missing.items()},
        }


def diff(stack: Stack, a: Side, b: Side) -> dict[str, Any]:
    """`{a, b, same, size, platforms: {added, removed}, each: [{platform, layers, packages, config, size}], findings}`.

    Two images of one platform each are compared even if their platforms differ. `packages` None: one of the two has no
    SBOM that can be read.
    """
    left, right = a.images, b.images
    common = [p for p in left if p in right]
    pairs = [(p, left[p], right[p]) for p in common]
    if not common and len(left) == len(right) == 1:
        (name, one), (other, two) = next(iter(left.items())), next(iter(right.items()))
        pairs = [(f"{name} → {other}", one, two)]
    sizes = a.size, b.size
    return {
        "a": a.as_data(),
        "b": b.as_data(),
        "same": a.inside.digest == b.inside.digest,
        "size": sizes[1] - sizes[0] if sizes[0] is not None and sizes[1] is not None else None,
        "platforms": {"added": [p for p in right if p not in left], "removed": [p for p in left if p not in right]},
        "each": [_pair(stack, a, b, *pair) for pair in pairs],
        "findings": _findings(stack, a, b),
    }


def _pair(stack: Stack, a: Side, b: Side, platform: str, one: Digest, two: Digest) -> dict[str, Any]:
    configs = [config(side.inside.configs.get(image, {})) for side, image in ((a, one), (b, two))]
    before, after = a.packages(stack, one), b.packages(stack, two)
    sizes = a.inside.size(one), b.inside.size(two)
    return {
        "platform": platform,
        "size": sizes[1] - sizes[0] if sizes[0] is not None and sizes[1] is not None else None,
        "layers": _layers(_of(a, one), _of(b, two)),
        "config": _changes(*(_flat(each) for each in configs)),
        "packages": _changes(before, after) if before is not None and after is not None else None,
    }


def _of(side: Side, image: Digest) -> Sequence[Descriptor]:
    manifest = side.inside.manifests.get(image)
    return manifest.layers if manifest else ()


def _layers(one: Sequence[Descriptor], two: Sequence[Descriptor]) -> dict[str, Any]:
    left, right = {d.digest for d in one}, {d.digest for d in two}
    kept = [_layer(d) for d in two if d.digest in left]
    return {
        "kept": kept,
        "kept_bytes": sum(d["size"] for d in kept),
        "added": [_layer(d) for d in two if d.digest not in left],
        "removed": [_layer(d) for d in one if d.digest not in right],
    }


def _layer(descriptor: Descriptor) -> dict[str, Any]:
    return {"digest": descriptor.digest, "size": descriptor.size, "media_type": descriptor.media_type}


def _flat(settings: Mapping[str, Any]) -> dict[str, str]:
    """A configuration as one level of names: `env PATH`, `label version`, `user`."""
    found = {key: str(settings[key]) for key in ("created", "user", "working_dir") if settings[key]}
    for key in ("entrypoint", "cmd", "ports"):
        if settings[key]:
            found[key] = " ".join(settings[key])
    for entry in settings["env"]:
        name, _, value = entry.partition("=")
        found[f"env {name}"] = value
    return found | {f"label {name}": value for name, value in settings["labels"].items()}


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, Any]:
    return {
        "added": {k: after[k] for k in sorted(after) if k not in before},
        "removed": {k: before[k] for k in sorted(before) if k not in after},
        "changed": {k: [before[k], after[k]] for k in sorted(before) if k in after and before[k] != after[k]},
    }


def _findings(stack: Stack, a: Side, b: Side) -> dict[str, Any]:
    one, two = (_found(stack, side) for side in (a, b))
    return {
        "added": [two[k] for k in two if k not in one],
        "removed": [one[k] for k in one if k not in two],
        "kept": sum(k in one for k in two),
        "scanned": [_is_scanned(side) for side in (a, b)],
    }


def _found(stack: Stack, side: Side) -> dict[str, dict[str, Any]]:
    listed = all_findings.findings(stack, side.inside.place, {p: side.facts[d] for p, d in side.images.items()})
    return {f["id"]: {key: f[key] for key in ("id", "severity", "packages")} for f in listed}


def _is_scanned(side: Side) -> bool:
    scans: Iterable[Fact | None] = (newest_scan(side.facts[d], side.inside.place) for d in side.images.values())
    return bool(side.images) and all(s is not None and Scanned.parse(s).outcome == "complete" for s in scans)
