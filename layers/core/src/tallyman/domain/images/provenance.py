"""Provenance in annotations: those of an image, and those of statements about it.

Anybody who may push can write annotations, and nobody verifies them: of decisions only the gate `attested` uses them,
to which it is enough that a statement is there.
"""

from collections.abc import Iterable, Mapping

from tallyman.domain.images.manifest import Manifest

LONGEST = 500
"""The number of characters of an annotation that are kept."""

BUILD = "tallyman.build."
"""Prefix of a statement's annotations about a build: `id`, `url`, `builder`, and `person`, who started it."""

PREDICATE = "in-toto.io/predicate-type"
_PREDICATES = (PREDICATE, "dev.sigstore.bundle.predicateType", "predicateType")
_IMAGE = "org.opencontainers.image."


def built(manifest: Manifest) -> dict[str, str]:
    """The image's annotations about its build (see `labels`); empty where they name no commit (`revision`)."""
    found = labels(manifest.annotations)
    return found if "revision" in found else {}


def labels(said: Mapping[str, str]) -> dict[str, str]:
    """The annotations or labels `org.opencontainers.image.*` about the build, without that prefix: revision, source,
    version, authors, title, base.name and base.digest. An image inherits the labels of its base image."""
    names = ("revision", "source", "version", "authors", "title", "base.name", "base.digest")
    return _named(said, _IMAGE, names)


def build_of(statement: Manifest) -> dict[str, str]:
    """The build that a statement's annotations describe: id, url, builder, person; empty where they name no id."""
    found = _named(statement.annotations, BUILD, ("id", "url", "builder", "person"))
    return found if "id" in found else {}


def predicates(manifest: Manifest) -> list[str]:
    """The predicate types of in-toto statements in a referrer, by its annotations and those of its layers, sorted."""
    noted = [manifest.annotations, *(layer.annotations for layer in manifest.layers)]
    return sorted({notes[key] for notes in noted for key in _PREDICATES if notes.get(key)})


def predicate_of(annotations: Mapping[str, str]) -> str:
    """The predicate type that annotations name; empty where they name none."""
    return next((annotations[key] for key in _PREDICATES if annotations.get(key)), "")


def _named(annotations: Mapping[str, str], prefix: str, names: Iterable[str]) -> dict[str, str]:
    found = {name: annotations.get(prefix + name) for name in names}
    return {name: text[:LONGEST] for name, text in found.items() if text}
