"""The Portuguese pages match the English ones: the same sections, code, commands, pictures and links."""

import re

import pytest

from support.house.shown import FENCE, in_blocks
from support.house.sources import ROOT, text

PAIRS = [("README.md", "README.pt-BR.md"), ("docs/getting-started.md", "docs/getting-started.pt-BR.md")]
OWN = {"As aulas, passo a passo, na nuvem local"}
"""Sections that only the Portuguese page has: the course's lessons, which hold README's session."""


def points(page: str) -> int:
    """The number of steps, items and table rows on a page; lessons are left out."""
    lessons = rf"(?ms)^## (?:{'|'.join(map(re.escape, OWN))})\n.*?(?=^## )"
    return len(re.findall(r"(?m)^(?:\d+\.|-|\|) ?", re.sub(lessons, "", FENCE.sub("", text(ROOT / page)))))


@pytest.mark.parametrize(("english", "portuguese"), PAIRS)
def test_the_sections_correspond(english: str, portuguese: str) -> None:
    titles = [re.findall(r"(?m)^## (.+)$", FENCE.sub("", text(ROOT / page))) for page in (english, portuguese)]
    assert len(titles[0]) == len([title for title in titles[1] if title not in OWN])


@pytest.mark.parametrize(("english", "portuguese"), PAIRS)
def test_lists_and_tables_have_equal_lengths(english: str, portuguese: str) -> None:
    assert points(english) == points(portuguese)


@pytest.mark.parametrize(("english", "portuguese"), PAIRS)
def test_every_link_picture_and_command_is_in_both(english: str, portuguese: str) -> None:
    theirs = text(ROOT / portuguese)
    for link in re.findall(r"\]\(([^)]+)\)", text(ROOT / english)):
        ours = link.replace(".md", ".pt-BR.md")
        assert f"]({link})" in theirs or f"]({ours})" in theirs or ".pt-BR.md" in link, link
    for code in re.findall(r"`(tallyman [^`]+|make [^`]+)`", FENCE.sub("", text(ROOT / english))):
        assert f"`{' '.join(code.split())}`" in " ".join(theirs.split()), code


@pytest.mark.parametrize(("english", "portuguese"), PAIRS)
def test_code_blocks_are_equal(english: str, portuguese: str) -> None:
    typed = {page: {each.line for each in in_blocks() if each.page == page} for page in (english, portuguese)}
    assert typed[english] <= typed[portuguese]
    blocks = [
        [re.sub(r" *#.*", "", body) for _, language, body in FENCE.findall(text(ROOT / page)) if language == "yaml"]
        for page in (english, portuguese)
    ]
    assert blocks[0] == blocks[1]


@pytest.mark.parametrize(("english", "portuguese"), PAIRS)
def test_each_page_links_to_its_translation(english: str, portuguese: str) -> None:
    assert f"]({portuguese.rpartition('/')[2]})" in text(ROOT / english)
    assert f"]({english.rpartition('/')[2]})" in text(ROOT / portuguese)
