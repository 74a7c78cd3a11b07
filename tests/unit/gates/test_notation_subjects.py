"""Subjects of certificates: which of them a Notation trust policy matches, and what a policy may write."""

import pytest

from tallyman.domain.gates.subjects import is_meant, parse_subject, parse_trusted

FULL = "CN=release,O=Rocketseat,ST=WA,C=US"


@pytest.mark.parametrize(
    ("trusted", "subject", "meant"),
    [
        ("C=US, ST=WA, O=Rocketseat", FULL, True),
        ("c=US,S=WA,O=Rocketseat,CN=release", FULL, True),
        ("C=US, ST=WA, O=Rocketseat, CN=other", FULL, False),
        ("C=US, ST=WA, O=Rocket", FULL, False),
        ("C=US, ST=WA, O=rocketseat", FULL, False),
        ("C=US, ST=WA, O=Rocketseat", "CN=O=Rocketseat,ST=WA,C=US", False),
        ("C=US, ST=WA, O=Rocketseat", r"CN=x\,O=Rocketseat,O=Evil,ST=WA,C=US", False),
        (r"C=US, ST=WA, O=Rocketseat\, Inc.", r"O=Rocketseat\, Inc.,ST=WA,C=US", True),
        (r"C=US, ST=WA, O=Caf\C3\A9", "O=Café,ST=WA,C=US", True),
        ("C=US, ST=WA, O=Rocketseat", "O=Rocketseat,O=Evil,ST=WA,C=US", False),
        ("C=US, ST=WA, O=Rocketseat", "CN=x+O=Rocketseat,ST=WA,C=US", False),
        ("C=US, ST=WA, O=Rocketseat", "", False),
        ("", FULL, False),
    ],
)
def test_a_subject_matches_if_it_has_every_part(trusted: str, subject: str, meant: bool) -> None:
    assert is_meant(trusted, subject) is meant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("C=US, O=Rocketseat", "ST is missing"),
        ("CN=x", "C, ST, O is missing"),
        ("*", "is not one TYPE=value"),
        ("C=US, ST=WA, O=", "O is missing"),
        ("C=US, ST=WA, O=a, O=b", "the subject has O twice"),
        ("C=US, ST=WA, O=a+CN=b", "is not one TYPE=value"),
    ],
)
def test_invalid_trusted_subjects_are_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_trusted(text)


def test_an_escaped_comma_does_not_separate_parts() -> None:
    assert parse_subject(r"CN=a\,b,O=c\\,C=US") == {"CN": "a,b", "O": "c\\", "C": "US"}
