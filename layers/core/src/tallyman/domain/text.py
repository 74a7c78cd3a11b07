"""Text for people: numbers with their nouns, and untrusted text with escapes.

Annotations, labels, tags, authors, findings and error messages of other systems may hold any character. Control
characters move a terminal's cursor or change its title, directional marks reverse text, invisible characters hide it.
`visible` is applied to all text right before it is shown, on terminals, in notices and in logs.
"""

LINES = "\n\t"
"""The control characters that text of several lines keeps."""


def counted(number: int, one: str, many: str = "") -> str:
    """`1 dead letter`, `2 dead letters`; `many`: where the plural is no mere `s`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def visible(text: str, keep: str = "") -> str:
    """The text with every character that is not printable shown as an escape such as `\\x1b`; those in `keep` stay."""
    if text.isprintable():
        return text
    return "".join(map(_shown, text)) if not keep else "".join(c if c in keep else _shown(c) for c in text)


def _shown(character: str) -> str:
    import unicodedata  # seldom needed

    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
