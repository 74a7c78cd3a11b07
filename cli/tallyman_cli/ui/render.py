"""Renders the templates: autoescape is always on, hostile characters are shown as escapes, an undefined name is an
error."""

import json
import re
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tallyman.domain.images.findings import SEVERITIES
from tallyman.domain.text import visible
from tallyman_cli.shared import output
from tallyman_cli.ui import text
from tallyman_cli.ui.links import Links
from tallyman_cli.views import ignored

HERE = Path(__file__).parent
STATIC = HERE / "static"

VERDICTS = {
    "passed": ("good", "✓"),
    "promoted": ("good", "✓"),
    "ok": ("good", "✓"),
    "done": ("good", "✓"),
    "waiting": ("wait", "…"),
    "running": ("wait", "…"),
    "in_progress": ("wait", "…"),
    "not_begun": ("wait", "…"),
    "unknown": ("wait", "?"),
    "warning": ("wait", "!"),
    "failed": ("bad", "✗"),
    "conflict": ("bad", "✗"),
    "stuck": ("bad", "✗"),
    "rolled_back": ("bad", "↩"),
}
"""CSS class and sign of each verdict; the word itself is always shown too."""

_NOT_PLAIN = re.compile("[^\x20-\x7e\n\t\r]")
"""Characters that `visible` may escape; browsers send the line ends of a form as `\\r\\n`."""


@cache
def environment() -> Environment:
    """The templates of the pages."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown = (text.size, text.short, text.usd, text.person, text.words, text.clock, text.delta, text.named)
    made.filters |= {each.__name__: each for each in (*shown, output.counted, verdict)}
    made.filters["ignored"] = ignored.words
    made.filters["pretty"] = lambda data: json.dumps(data, indent=2, ensure_ascii=False)
    made.globals["severities"] = SEVERITIES
    return made


def _harmless(value: Any) -> Any:
    """A value of a template with characters escaped that would reverse, hide or break the text around them."""
    if not isinstance(value, str) or (value.isascii() and value.isprintable()):
        return value
    return type(value)(_NOT_PLAIN.sub(lambda found: visible(found[0]), value))


def compile_first_views() -> None:
    """Compile the templates of the board and of a repository, so that the first visitor does not wait. Cost: 0.2 s."""
    for name in ("base.html", "macros.html", "board.html", "repository.html"):
        environment().get_template(name)


def verdict(name: str | None, label: str | None = None) -> Markup:
    """A verdict as a badge: sign, word and colour."""
    kind, sign = VERDICTS.get(name or "", ("plain", "·"))
    return Markup('<span class="badge {}"><span aria-hidden="true">{}</span> {}</span>').format(
        kind, sign, label or text.words(name) or "unknown"
    )


def page(template: str, links: Links, now: datetime, **context: Any) -> str:
    """A page as HTML."""
    return (
        environment()
        .get_template(template)
        .render(
            to=links,
            now=now,
            ago=lambda moment: text.ago(moment, now),
            when=lambda moment: when(moment, now),
            **context,
        )
    )


def when(moment: str | None, now: datetime) -> Markup:
    """A time as people say it (`5 h ago`), with the exact time as its title and for programs."""
    if not moment:
        return Markup("")
    return Markup('<time datetime="{0}" title="{1}">{2}</time>').format(
        moment, text.clock(moment), text.ago(moment, now)
    )


def as_json(data: Any) -> str:
    """The page's JSON twin, as `--json` prints it."""
    return output.as_json(data) + "\n"
