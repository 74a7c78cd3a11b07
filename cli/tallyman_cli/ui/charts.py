"""Draws SVG: the tags of a repository over time, and the replay of a policy. It has no style attributes, which the
page's content security policy forbids; every text is escaped."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup, escape

from tallyman.domain.text import counted
from tallyman.domain.times import parse_time
from tallyman_cli.ui.text import clock, short, size

WIDTH, LABELS, RIGHT = 1000, 170, 12
LANE, BAR, AXIS = 30, 20, 28
COLOURS = 8
_CHARACTER = 7.2
"""Width of a character in a bar's label, in units of the picture."""


def tag_timeline(timeline: Mapping[str, Any], href: Callable[[str], str | None]) -> Markup:
    """A lane for each tag, a bar for each digest that it pointed to; a bar is a link, its title says what happened."""
    begin, end = parse_time(timeline["from"]), parse_time(timeline["to"])
    if end - begin < timedelta(seconds=10):
        begin = end - timedelta(seconds=10)
    lanes = timeline["lanes"]
    order = dict.fromkeys(bar["digest"] for lane in lanes for bar in lane["bars"])
    colours = {digest: number % COLOURS for number, digest in enumerate(order)}
    height = len(lanes) * LANE + AXIS
    x = _scale(begin, end)
    parts = [*_axis(begin, end, height - AXIS, x)]
    for number, lane in enumerate(lanes):
        parts += _lane(lane, number * LANE, x, end, href, colours)
    time = f"from {clock(timeline['from'])} to {clock(timeline['to'])}"
    label = f"{counted(len(lanes), 'tag')} {time}; the moves are listed below"
    return _svg(height, label, parts)


def replay(points: Sequence[Mapping[str, Any]], removed: Sequence[Mapping[str, Any]]) -> Markup:
    """Two lines over time: the bytes that the repository held (solid), and would have held under the policy (dashed). A
    triangle marks the removal of an image that was needed later."""
    begin, end = parse_time(points[0]["at"]), parse_time(points[-1]["at"])
    top: int = max([p["bytes"] for p in points] + [1])
    height, plot = 260, 220
    x = _scale(begin, end, 90)

    def y(count: int) -> float:
        return round(plot - (plot - 16) * count / top, 1)

    parts = [*_axis(begin, end, plot, x)]
    for part in (0, 0.5, 1):
        at = y(int(top * part))
        parts.append(_tag("line", x1=90, x2=WIDTH - RIGHT, y1=at, y2=at, class_="grid"))
        parts.append(_text(82, at + 4, size(int(top * part)), "tick end"))
    for key, name in (("bytes", "held"), ("would_bytes", "would")):
        steps = [f"{x(parse_time(p['at']))},{y(p[key])}" for p in points]
        parts.append(_tag("polyline", points=" ".join(steps), class_=f"line {name}"))
    for each in removed:
        if each["needed"]:
            at = x(parse_time(each["at"]))
            text = f"{short(each['digest'])} would have been removed, and was needed later: {'; '.join(each['needed'])}"
            parts.append(_titled("path", text, d=f"M{at} {plot - 12} l7 12 h-14 z", class_="needed"))
    label = f"bytes held and bytes under the policy, {clock(points[0]['at'])} to {clock(points[-1]['at'])}"
    return _svg(height, label, parts)


def _lane(
    lane: Mapping[str, Any],
    top: float,
    x: Callable[[datetime], float],
    end: datetime,
    href: Callable[[str], str | None],
    colours: Mapping[str, int],
) -> Iterable[Markup]:
    tag = lane["tag"]
    yield _tag("line", x1=LABELS, x2=WIDTH - RIGHT, y1=top + LANE - 2, y2=top + LANE - 2, class_="grid")
    yield _titled("text", tag, tag if len(tag) <= 22 else f"{tag[:21]}…", x=LABELS - 10, y=top + 18, class_="lane end")
    for bar in lane["bars"]:
        left, right = x(parse_time(bar["from"])), x(parse_time(bar["to"]) if bar["to"] else end)
        width = max(right - left, 3.0)
        rect = _titled(
            "rect",
            _tooltip(tag, bar),
            x=left,
            y=top + 4,
            width=round(width, 1),
            height=BAR,
            rx=4,
            class_=f"bar c{colours[bar['digest']]}" + ("" if bar["to"] else " open"),
        )
        inside = short(bar["digest"])[: max(0, int((width - 8) / _CHARACTER))]
        label = _text(left + 6, top + 18, inside, "digest") if len(inside) >= 4 else Markup("")
        target = href(bar["digest"])
        name = f"{tag}: {short(bar['digest'])} from {clock(bar['from'])}"
        if target:
            yield Markup('<a href="{}" aria-label="{}">{}{}</a>').format(target, name, rect, label)
        else:
            yield rect + label


def _tooltip(tag: str, bar: Mapping[str, Any]) -> str:
    parts = [f"{tag} → {short(bar['digest'])}", f"since {clock(bar['from'])}"]
    parts += [f"until {clock(bar['to'])}"] if bar["to"] else []
    parts += [f"by {bar['who']}"] if bar["who"] else []
    parts += [f"via {bar['via']}"]
    parts += [f"commit {bar['commit'][:12]}"] if bar["commit"] else []
    return "\n".join(parts)


def _scale(begin: datetime, end: datetime, left: float = LABELS) -> Callable[[datetime], float]:
    span = max((end - begin).total_seconds(), 1.0)

    def x(moment: datetime) -> float:
        part = min(max((moment - begin).total_seconds() / span, 0.0), 1.0)
        return round(left + part * (WIDTH - RIGHT - left), 1)

    return x


def _axis(begin: datetime, end: datetime, bottom: float, x: Callable[[datetime], float]) -> Iterable[Markup]:
    span = end - begin
    form = "%H:%M:%S" if span < timedelta(minutes=20) else "%b %d %H:%M" if span < timedelta(days=8) else "%Y-%m-%d"
    for number in range(5):
        moment = begin + span * number / 4
        at = x(moment)
        yield _tag("line", x1=at, x2=at, y1=0, y2=bottom, class_="grid")
        where = "" if number == 0 else " end" if number == 4 else " middle"
        yield _text(at, bottom + 18, f"{moment:{form}}", f"tick{where}")


def _svg(height: float, label: str, parts: Iterable[Markup]) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="group" aria-label="{}">{}</svg>').format(
        WIDTH, height, label, Markup("").join(parts)
    )


def _attributes(given: Mapping[str, Any]) -> Markup:
    return Markup("").join(Markup(' {}="{}"').format(name.rstrip("_"), value) for name, value in given.items())


def _tag(name: str, **given: Any) -> Markup:
    return Markup("<{}{}/>").format(Markup(name), _attributes(given))


def _titled(name: str, title: str, content: str = "", **given: Any) -> Markup:
    return Markup("<{0}{1}><title>{2}</title>{3}</{0}>").format(
        Markup(name), _attributes(given), title, escape(content)
    )


def _text(x: float, y: float, content: str, class_: str) -> Markup:
    return Markup("<text{}>{}</text>").format(
        _attributes({"x": round(x, 1), "y": round(y, 1), "class": class_}), content
    )
