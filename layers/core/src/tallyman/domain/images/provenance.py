"""The provenance in a manifest: the image's own annotations, and those of statements about it.

Anybody who may push may write them: they are said by the image, checked by nobody and no reason for any decision.
"""

from collections.abc import Iterable, Mapping

from tallyman.domain.images.manifest import Manifest

LONGEST = 500
"""Characters of what an annotation says that are kept."""

BUILD = "tallyman.build."
"""Annotations of a statement: `id` of the build, its `url`, who did it (`builder`) and who asked for it (`person`)."""

PREDICATE = "in-toto.io/predicate-type"
_PREDICATES = (PREDICATE, "dev.sigstore.bundle.predicateType", "predicateType")
_IMAGE = "org.opencontainers.image."


def built(manifest: Manifest) -> dict[str, str]:
    """Which commit, source, version and author an image names in its annotations, where it names a commit."""
    found = labels(manifest.annotations)
    return found if "revision" in found else {}


def labels(said: Mapping[str, str]) -> dict[str, str]:
    """The same of a configuration's labels, whatever they name; and the title, and the image that it stands on
    (`base.name`, `base.digest`). An image inherits the labels of the one that it stands on."""
    names = ("revision", "source", "version", "authors", "title", "base.name", "base.digest")
    return _named(said, _IMAGE, names)


def build_of(statement: Manifest) -> dict[str, str]:
    """Which build made its subject, by a statement's annotations, where they name one: id, url, builder, person."""
    found = _named(statement.annotations, BUILD, ("id", "url", "builder", "person"))
    return found if "id" in found else {}


def predicates(manifest: Manifest) -> list[str]:
    """The types of in-toto statements in a referrer, as its annotations and those of its layers name them."""
    noted = [manifest.annotations, *(layer.annotations for layer in manifest.layers)]
    return sorted({notes[key] for notes in noted for key in _PREDICATES if notes.get(key)})


def predicate_of(annotations: Mapping[str, str]) -> str:
    """The type of the in-toto statement that annotations name; empty where they name none."""
    return next((annotations[key] for key in _PREDICATES if annotations.get(key)), "")


def _named(annotations: Mapping[str, str], prefix: str, names: Iterable[str]) -> dict[str, str]:
    found = {name: annotations.get(prefix + name) for name in names}
    return {name: text[:LONGEST] for name, text in found.items() if text}
