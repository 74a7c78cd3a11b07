"""Names: digests, tags, registries, repositories, images. Text is parsed once; the code passes values, not strings."""

import hashlib
import re
from typing import Protocol, Self

from tallyman.domain.partitions import partition_of
from tallyman.errors import BadName
from tallyman.values import value

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"(?:{_PART}/)*{_PART}")
"""The path of a repository, as OCI's distribution specification and ECR allow it; each limits the length besides."""
_ACCOUNT = re.compile(r"[0-9]{12}")
REGION = r"[a-z]{2,4}(?:-[a-z]+)+-[0-9]{1,2}"
_REGION = re.compile(REGION)
_HOST = re.compile(r"(\d{12})\.dkr[.-]ecr(?:-fips)?\.([a-z0-9-]+)\.([a-z0-9.-]+)")
_ENVIRONMENT = re.compile(r"([A-Za-z][A-Za-z0-9_-]*)(?:\[([1-9][0-9]*)\])?")


class Digest(str):
    """The SHA-256 of raw bytes as `sha256:<64 hexadecimal digits>`; a `str`, usable as a key and in JSON."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self:
        """Raise BadName unless `text` is a whole SHA-256 digest (ECR knows no other algorithm)."""
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise BadName(f"{_shown(text)} is not a digest: expected sha256: and 64 hexadecimal digits")
        return cls(text)

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The digest of these bytes."""
        return cls("sha256:" + hashlib.sha256(raw).hexdigest())

    @property
    def hex(self) -> str:
        """The 64 hexadecimal digits."""
        return self[7:]

    @property
    def short(self) -> str:
        """`sha256:` and the first twelve digits, for people."""
        return self[:19]


def _shown(text: object) -> str:
    """Untrusted text for a message: one line, without control characters, cut at 200 characters."""
    shown = f"'{text}'" if str(text).isprintable() else ascii(str(text))
    return shown if len(shown) <= 200 else f"{shown[:199]}…"


def _of_host(text: str) -> tuple[str, str] | None:
    """Account and region of an ECR host name, whose suffix must be one of the region's partition; None: not one."""
    found = _HOST.fullmatch(text)
    if not found:
        return None
    partition = partition_of(found[2])
    return (found[1], found[2]) if found[3] in (partition.suffix, partition.dual_stack) else None


def parse_tag(text: str) -> str:
    """The tag. Raises BadName (OCI: 1 to 128 letters, digits, `_`, `.` or `-`; not starting with `.` or `-`)."""
    if not _TAG.fullmatch(text):
        raise BadName(
            f"{_shown(text)} is not a tag: expected 1 to 128 letters, digits, _, . or -, not starting with . or -"
        )
    return text


def parse_repository_name(text: str) -> str:
    """The repository's name. Raises BadName (ECR: 2 to 256 characters, lower case, parts joined by `/`)."""
    if not 2 <= len(text) <= 256 or not REPOSITORY.fullmatch(text):
        expected = "expected 2 to 256 lower-case letters, digits and . _ - / as in team/service"
        raise BadName(f"{_shown(text)} is not a repository: {expected}")
    return text


class Place(Protocol):
    """What holds repositories: an `EcrRegistry`, or an `OciHost` or `OciLayout` of locations.py."""

    @property
    def host(self) -> str:
        """The first part of the addresses of its images."""

    def __hash__(self) -> int: ...


class Location(Protocol):
    """A repository at any place: a `Repository` of ECR, or an `OciRepository` of locations.py."""

    @property
    def registry(self) -> Place: ...

    @property
    def name(self) -> str: ...

    def at(self, reference: str) -> str:
        """The address of an image: `host/name@sha256:…` or `host/name:tag`."""

    def __hash__(self) -> int: ...


@value
class EcrRegistry:
    """One account in one region, written `111111111111/us-east-2`."""

    account: str
    region: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `account/region` or an ECR host name. Raises BadName."""
        account, region = _of_host(text) or text.partition("/")[::2]
        if not _ACCOUNT.fullmatch(account) or not _REGION.fullmatch(region):
            raise BadName(f"'{text}' is not a registry: expected account/region such as 111111111111/us-east-2")
        return cls(account, region)

    def __lt__(self, other: "EcrRegistry") -> bool:
        return (self.account, self.region) < (other.account, other.region)

    @property
    def host(self) -> str:
        """The registry's host name on AWS, with the suffix of the region's partition."""
        return f"{self.account}.dkr.ecr.{self.region}.{partition_of(self.region).suffix}"

    def __str__(self) -> str:
        return f"{self.account}/{self.region}"


@value
class Repository:
    """A repository of an ECR registry, written `111111111111/us-east-2/rocketseat/widget-server`."""

    registry: EcrRegistry
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `account/region/name`, or a repository ARN (as in Inspector's events). Raises BadName."""
        if text.startswith("arn:"):
            parts = text.split(":", 5)
            if len(parts) != 6 or parts[2] != "ecr" or not parts[5].startswith("repository/"):
                raise BadName(f"'{text}' is not an ARN of an ECR repository")
            return cls(EcrRegistry.parse(f"{parts[4]}/{parts[3]}"), parse_repository_name(parts[5][11:]))
        account, _, rest = text.partition("/")
        region, _, name = rest.partition("/")
        return cls(EcrRegistry.parse(f"{account}/{region}"), parse_repository_name(name))

    def __lt__(self, other: "Repository") -> bool:
        return (self.registry, self.name) < (other.registry, other.name)

    @property
    def arn(self) -> str:
        """The repository's ARN."""
        partition = partition_of(self.registry.region)
        return f"arn:{partition.name}:ecr:{self.registry.region}:{self.registry.account}:repository/{self.name}"

    def at(self, reference: str) -> str:
        """The address of an image in this repository: `host/name@sha256:…` or `host/name:tag`."""
        return f"{self.registry.host}/{self.name}{'@' if isinstance(reference, Digest) else ':'}{reference}"

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


def in_ecr(place: Place) -> EcrRegistry:
    """The place, if it is an ECR registry. Raises TypeError for another: the caller chose the wrong adapter."""
    if not isinstance(place, EcrRegistry):
        raise TypeError(f"{place} is not an ECR registry")
    return place


_IMAGE = (
    "an image: expected ENVIRONMENT/REPOSITORY:TAG or ENVIRONMENT/REPOSITORY@DIGEST "
    "(such as dev/rocketseat/widget-server:v1)"
)
_REPOSITORY = "a repository: expected ENVIRONMENT/REPOSITORY (such as dev/rocketseat/widget-server)"


@value
class ImageName:
    """An IMAGE or REPOSITORY argument as a person wrote it, not yet looked up in a policy.

    Either `environment` or `registry` is set. `index`, from 1: one registry of the environment, as in `prod[2]`; None:
    all. `tag` and `digest` are both None for a REPOSITORY, which may hold glob characters.
    """

    text: str
    repository: str
    environment: str | None = None
    index: int | None = None
    registry: EcrRegistry | None = None
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """An image: `dev/team/app:v1`, `prod[2]/team/app@sha256:…`, or a full ECR address. Raises BadName."""
        name = cls._parse(text, _IMAGE)
        if not (name.tag or name.digest):
            raise BadName(f"'{text}' names a repository: an image needs :TAG or @DIGEST, as in {text}:v1")
        return name

    @classmethod
    def parse_any(cls, text: str, *, globs: bool = False) -> Self:
        """An image or a repository (`dev/team/app`, with `globs` also `dev/team/*`). Raises BadName."""
        return cls._parse(text, _IMAGE if ":" in text or "@" in text else _REPOSITORY, globs=globs)

    @classmethod
    def _parse(cls, text: str, expected: str, *, globs: bool = False) -> Self:
        """Parse either; `expected`: for the message if the text is neither."""
        where, _, rest = text.partition("/")
        rest, at, digest_text = rest.partition("@")
        colon = rest.rfind(":")
        has_tag = colon > rest.rfind("/")
        rest, tag = (rest[:colon], rest[colon + 1 :]) if has_tag else (rest, "")
        if not rest or (has_tag and not tag):
            raise BadName(f"'{text}' is not {expected}, or a full ECR address")
        host, environment = _of_host(where), _ENVIRONMENT.fullmatch(where)
        if not host and not environment:
            raise BadName(
                f"'{text}': '{where}' is neither an environment (dev, prod[2]) nor an ECR host "
                "(111111111111.dkr.ecr.us-east-2.amazonaws.com)"
            )
        if not (globs and any(c in rest for c in "*?[")):
            parse_repository_name(rest)
        return cls(
            text=text,
            repository=rest,
            environment=None if host else environment[1] if environment else None,
            index=int(environment[2]) if not host and environment and environment[2] else None,
            registry=EcrRegistry.parse(where) if host else None,
            tag=parse_tag(tag) if tag else None,
            digest=Digest.parse(digest_text) if at else None,
        )
