"""Headers as registries and the proxies in front of them write them."""

from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest

from tallyman.adapters.http.headers import challenges, links, retry_after
from tallyman.adapters.oci.answers import Answer
from tallyman.adapters.oci.uploads import OciUploads
from tallyman.domain.locations import repository_at
from tallyman.errors import UploadExpired

BEARER = 'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push"'
FOUND = (
    "bearer",
    {"realm": "https://auth.example/token", "service": "registry.example", "scope": "repository:a/b:pull,push"},
)
BASIC = ("basic", {"realm": "Artifactory Realm"})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([BEARER], [FOUND]),
        ([BEARER, 'Basic realm="Artifactory Realm"'], [FOUND, BASIC]),
        (['Basic realm="Artifactory Realm"', BEARER], [BASIC, FOUND]),
        ([f'{BEARER}, Basic realm="Artifactory Realm"'], [FOUND, BASIC]),
        ([f'Basic realm="Artifactory Realm", {BEARER}'], [BASIC, FOUND]),
        (
            [f'BASIC Realm="Artifactory Realm" , charset=UTF-8,{BEARER}'],
            [(BASIC[0], {**BASIC[1], "charset": "UTF-8"}), FOUND],
        ),
        ([f"Negotiate, {BEARER}"], [("negotiate", {}), FOUND]),
        ([f"Negotiate YIIJvwYGKwYBBQUCoIIJsz==, {BEARER}"], [("negotiate", {}), FOUND]),
        (['bearer realm = "a\\"b" ,service=plain'], [("bearer", {"realm": 'a"b', "service": "plain"})]),
        (["Basic"], [("basic", {})]),
        ([""], []),
        (['="x"'], []),
    ],
)
def test_challenges_keep_their_own_parameters(values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert challenges(values) == expected


@pytest.mark.parametrize(
    "values",
    [
        ['</v2/a/tags/list?n=1&last=x>; rel="next"'],
        ["</v2/a/tags/list?n=1&last=x>;rel=next"],
        ["</v2/a/tags/list?n=1&last=x> ; title=a ; REL=Next"],
        ['</v2/a/tags/list?n=1&last=x>; rel="prev NEXT"'],
        ['</first>; rel="first", </v2/a/tags/list?n=1&last=x>; rel="next"'],
        ['</first>; rel="first"; title="a, b; rel=next"', '</v2/a/tags/list?n=1&last=x>; rel="next"; rel="prev"'],
    ],
)
def test_every_spelling_of_the_next_page_link_is_parsed(values: list[str]) -> None:
    assert list(links(values, "next")) == ["/v2/a/tags/list?n=1&last=x"]


@pytest.mark.parametrize(
    "value", ['</a>; rel="prev"', "</a>", "next", '</a>; rel=prev; rel="next"', '</a>; title="next"']
)
def test_other_link_headers_are_not_a_next_page(value: str) -> None:
    assert list(links([value], "next")) == []


def reached(span: str) -> int:
    headers = Message()
    headers["Range"] = span
    client: Any = SimpleNamespace(send=lambda *_, **__: Answer(204, headers, b""))
    return OciUploads(client).reached(repository_at("registry.test", "app"), "/v2/app/blobs/uploads/1")[0]


@pytest.mark.parametrize(("span", "have"), [("0-5", 6), ("bytes=0-9", 10), ("0-0", 0), ("0--1", 0)])
def test_the_range_header_gives_the_offset_of_an_upload(span: str, have: int) -> None:
    assert reached(span) == have


@pytest.mark.parametrize("span", ["", "0-\u00b2", "0---5", "1-5", "0-", "0-" + "9" * 5000])
def test_an_invalid_range_header_gives_no_offset(span: str) -> None:
    with pytest.raises(UploadExpired):
        reached(span)


NOON = "Mon, 16 Nov 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("asked", "date", "seconds"),
    [
        ("3", NOON, 3.0),
        ("Mon, 16 Nov 2026 12:00:07 GMT", NOON, 7.0),
        ("Monday, 16-Nov-26 12:00:07 GMT", NOON, 7.0),
        ("Mon, 16 Nov 2026 11:00:00 GMT", NOON, 0.0),
        ("Mon, 16 Nov 2026 11:00:00 GMT", "", 0.0),
        ("Mon, 16 Nov 2026 11:00:00 GMT", "yesterday", 0.0),
        ("soon", NOON, None),
        ("-1", NOON, None),
        ("\u00b2", NOON, None),
        ("Mon, 99 Nov 2026 12:00:07 GMT", NOON, None),
        ("", NOON, None),
    ],
)
def test_a_retry_after_is_a_number_of_seconds_or_a_date(asked: str, date: str, seconds: float | None) -> None:
    headers = Message()
    headers["Retry-After"], headers["Date"] = asked, date
    assert retry_after(headers) == seconds
