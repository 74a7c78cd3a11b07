"""Headers as registries and the proxies before them write them."""

import pytest

from tallyman.adapters.http.headers import challenges, links

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
def test_the_next_page_is_found_however_it_is_written(values: list[str]) -> None:
    assert list(links(values, "next")) == ["/v2/a/tags/list?n=1&last=x"]


@pytest.mark.parametrize(
    "value", ['</a>; rel="prev"', "</a>", "next", '</a>; rel=prev; rel="next"', '</a>; title="next"']
)
def test_what_is_no_next_page_is_none(value: str) -> None:
    assert list(links([value], "next")) == []
