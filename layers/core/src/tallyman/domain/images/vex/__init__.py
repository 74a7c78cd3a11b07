"""Statements whether a vulnerability concerns an image (VEX): OpenVEX's, and CycloneDX's.

A document is whoever's who signed it: nothing of it counts before the signature was verified.
"""

from dataclasses import field
from typing import Any

from tallyman.domain.images.vex.cyclonedx import author_of, cyclonedx
from tallyman.domain.images.vex.openvex import openvex
from tallyman.domain.images.vex.statements import Json, VexStatement, items, text
from tallyman.values import value

__all__ = ["Vex", "VexStatement", "is_vex", "vex"]

OPENVEX = "https://openvex.dev/ns"
CYCLONEDX = "https://cyclonedx.org/bom"
MOST, LARGEST = 2000, 1024 * 1024
"""Statements of a document, and characters of them. One with more is refused whole, for what would be left out may be
what matters."""


def is_vex(predicate: str | None) -> bool:
    """Whether statements of this predicate type may be VEX. An SBOM of CycloneDX has the same type as its VEX."""
    kind = predicate or ""
    return any(kind == each or kind.startswith(f"{each}/") for each in (OPENVEX, CYCLONEDX))


@value
class Vex:
    """A document. `flaw`: why nothing of it is read; None: it is."""

    author: str | None = None
    statements: tuple[VexStatement, ...] = field(default_factory=tuple)
    flaw: str | None = None

    def as_json(self) -> dict[str, Any]:
        """As a fact keeps it."""
        return {"author": self.author, "flaw": self.flaw, "statements": [each.as_json() for each in self.statements]}


def vex(kind: str, predicate: Json, image: str) -> Vex | None:
    """What a predicate of this type says of the image (`sha256:<hex>`); None: it is no VEX."""
    if not is_vex(kind):
        return None
    is_open = kind.startswith(OPENVEX)
    listed = items(predicate, "statements" if is_open else "vulnerabilities")
    author = text(predicate.get("author") if is_open else author_of(predicate))
    if len(listed) > MOST:
        return Vex(author, (), f"it has {len(listed)} statements, more than {MOST}")
    found: dict[VexStatement, None] = {}
    size = 0
    for each in (openvex if is_open else cyclonedx)(predicate, listed, image):
        size += 0 if each in found else len(each.because) + sum(map(len, (*each.ids, *each.parts)))
        found[each] = None
        if size > LARGEST or len(found) > MOST:
            return Vex(author, (), "its statements are too long or too many")
    return Vex(author, tuple(found))
