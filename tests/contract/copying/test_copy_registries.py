"""Copies between registries over HTTP: the result of each unusual answer, and which hosts receive our credentials."""

import math
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from support.images.builders import Built, big_layer, image, index, multi_arch, sbom, signature
from support.servers.oci import OciServer, Trouble, oci_server
from tallyman.adapters.http.client import HttpClient
from tallyman.adapters.oci.auth import Login, OciAuth
from tallyman.adapters.oci.client import RegistryClient
from tallyman.adapters.oci.registry import OciRegistry
from tallyman.domain.locations import OciRepository, repository_at
from tallyman.domain.names import Digest
from tallyman.errors import DigestMismatch, NotAllowed, NotFound, TallymanError, Throttled, Unreachable
from tallyman.services.copying import blobs
from tallyman.services.copying import stage as copy
from tallyman.services.copying.stage import CopyOptions, Staged, read_graph, read_graphs, stage

NAME = "team/app"


class Registries:
    """A source, two targets, and the transports to them."""

    def __init__(self, stack: ExitStack) -> None:
        self.source, self.target, self.other = (stack.enter_context(oci_server()) for _ in range(3))
        self.slept: list[float] = []
        self.logins: dict[str, Login] = {}
        self.wire = HttpClient(read=10)
        stack.callback(self.wire.close)

    def way(self, power: str = "pull", attempts: int = 3) -> OciRegistry:
        auth = OciAuth(self.wire, lambda repository: self.logins.get(repository.registry.host), power=power)
        return OciRegistry(RegistryClient(self.wire, auth, attempts=attempts, sleep=self.slept.append))

    def copy(self, built: Built, *targets: OciServer, **more: Any) -> list[Staged | TallymanError]:
        origin = repository_at(self.source.host, NAME)
        source = self.way()
        places = [repository_at(t.host, NAME) for t in targets or (self.target,)]
        members = read_graph(source, origin, built.digest)
        done = stage(source, origin, self.way("pull,push"), places, members, CopyOptions(lambda: math.inf, **more))
        return [done[place] for place in places]

    def holds(self, built: Built, target: OciServer | None = None) -> bool:
        repo = (target or self.target).repo(NAME)
        return all(repo.blobs.get(str(d)) == raw for d, raw in built.blobs.items()) and all(
            repo.manifests.get(str(d), (b"",))[0] == m.raw for d, m in built.manifests.items()
        )


@pytest.fixture(params=["near", "far"])
def registries(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registries]:
    """Registries nearby, and registries that count as far away: then the source is read ahead."""
    monkeypatch.setattr(copy, "FAR", -1.0 if request.param == "far" else 60.0)
    with ExitStack() as stack:
        yield Registries(stack)


BUILT = image(big_layer(300_000), "small")


def reading(built: Built) -> str:
    return f"/blobs/{max(built.blobs, key=lambda d: len(built.blobs[d]))}"


@pytest.mark.parametrize(
    ("where", "method", "part", "trouble", "times"),
    [
        ("source", "GET", "/blobs/", Trouble(cut=100_000), 1),
        ("source", "GET", "/blobs/", Trouble(cut=0), 2),
        ("source", "GET", "/manifests/", Trouble(status=503), 1),
        ("source", "GET", "/manifests/", Trouble(status=429, headers=(("Retry-After", "1"),)), 1),
        ("source", "GET", "/manifests/", Trouble(cut=20), 1),
        ("target", "POST", "/blobs/uploads/", Trouble(status=429, headers=(("Retry-After", "1"),)), 2),
        ("target", "POST", "/blobs/uploads/", Trouble(status=500), 1),
        ("target", "POST", "/blobs/uploads/", Trouble(lost=True), 1),
        ("target", "PUT", "/blobs/uploads/", Trouble(status=503), 1),
        ("target", "PUT", "/blobs/uploads/", Trouble(status=416), 1),
        ("target", "PUT", "/blobs/uploads/", Trouble(status=404), 1),
        ("target", "PUT", "/blobs/uploads/", Trouble(lost=True), 1),
        ("target", "HEAD", "/blobs/", Trouble(status=502), 1),
        ("target", "PUT", "/manifests/", Trouble(status=500), 1),
        ("target", "PUT", "/manifests/", Trouble(lost=True), 1),
        ("target", "PUT", "/manifests/", Trouble(status=429), 2),
        ("target", "GET", "/manifests/", Trouble(cut=0), 1),
    ],
)
def test_transient_errors_are_retried(
    registries: Registries, where: str, method: str, part: str, trouble: Trouble, times: int
) -> None:
    built = multi_arch() if "manifests" in part else BUILT
    registries.source.push(NAME, built, "v1")
    server: OciServer = getattr(registries, where)
    server.on(method, part, trouble, times)
    [outcome] = registries.copy(built)
    assert isinstance(outcome, Staged), outcome
    assert registries.holds(built)


def test_a_broken_read_resumes_and_reads_nothing_twice(registries: Registries) -> None:
    built = image(big_layer(3_500_000))
    registries.source.push(NAME, built, "v1")
    registries.source.on("GET", reading(built), Trouble(cut=3_000_000, gently=True))
    assert isinstance(registries.copy(built)[0], Staged)
    read = registries.source.bytes_out - sum(len(m.raw) for m in built.manifests.values())
    assert read <= sum(map(len, built.blobs.values())) + 2_000  # the referrers list


@pytest.mark.parametrize("cut", [1, 200_000, None])
def test_a_read_whose_end_was_not_announced_resumes(registries: Registries, cut: int | None) -> None:
    """A proxy that speaks HTTP/1.0 ends a body with the connection, also where its own source breaks."""
    registries.source.push(NAME, BUILT, "v1")
    trouble = Trouble(silent=True, cut=cut, gently=True)
    registries.source.on("GET", reading(BUILT), trouble, times=2)
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert registries.holds(BUILT)


@pytest.mark.parametrize("times", [1, 99])
def test_a_damaged_blob_whose_end_was_not_announced_is_damaged(registries: Registries, times: int) -> None:
    registries.source.push(NAME, BUILT, "v1")
    digest = reading(BUILT).removeprefix("/blobs/")
    registries.source.repo(NAME).blobs[digest] = BUILT.blobs[Digest(digest)][:-1]
    registries.source.on("GET", reading(BUILT), Trouble(silent=True), times=times)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, DigestMismatch)
    assert "is damaged" in str(outcome)


def test_an_upload_whose_answer_was_lost_is_not_sent_again(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.target.on("PUT", "/blobs/uploads/", Trouble(lost=True))
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert registries.target.count("PUT", "/blobs/uploads/") == len(BUILT.blobs)


def test_retry_after_is_respected_with_jitter(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.target.on("PUT", "/manifests/", Trouble(status=429, headers=(("Retry-After", "3"),)))
    assert isinstance(registries.copy(BUILT)[0], Staged)
    [pause] = registries.slept
    assert 3 < pause < 4


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
@pytest.mark.parametrize(
    ("where", "method", "part"),
    [
        ("source", "GET", "/manifests/"),
        ("source", "GET", "/blobs/"),
        ("source", "GET", "/token"),
        ("target", "POST", "/blobs/uploads/"),
        ("target", "PUT", "/blobs/uploads/"),
        ("target", "PUT", "/manifests/"),
    ],
)
def test_every_request_waits_as_long_as_the_registry_asks(
    registries: Registries, where: str, method: str, part: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "time", SimpleNamespace(sleep=registries.slept.append))
    registries.source.push(NAME, BUILT, "v1")
    registries.source.token = "secret"
    server: OciServer = getattr(registries, where)
    code = b'{"errors": [{"code": "DENIED", "message": "too fast"}]}'
    server.on(method, part, Trouble(status=status, headers=(("Retry-After", "3"),), body=code), times=2)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, Staged), outcome
    assert registries.holds(BUILT)
    assert registries.slept
    assert all(3 <= pause < 4 for pause in registries.slept)


def test_a_source_that_asks_for_a_long_pause_is_given_up(
    registries: Registries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "time", SimpleNamespace(sleep=registries.slept.append))
    registries.source.push(NAME, BUILT, "v1")
    registries.source.on("GET", "/blobs/", Trouble(status=429, headers=(("Retry-After", "600"),)), times=99)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, Throttled)
    assert outcome.after == 600
    assert registries.slept == []


def test_a_retry_after_beyond_the_limit_is_an_error_with_its_time(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.target.on("PUT", "/manifests/", Trouble(status=429, headers=(("Retry-After", "600"),)))
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, Throttled)
    assert outcome.after == 600
    assert registries.slept == []


@pytest.mark.parametrize("status", [401, 403])
def test_missing_permission_is_permanent_and_not_retried(registries: Registries, status: int) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.target.on("PUT", "/manifests/", Trouble(status=status), times=9)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, NotAllowed)
    assert registries.target.count("PUT", "/manifests/") == 1


@pytest.mark.parametrize("trouble", [Trouble(flip=True), Trouble(more=b"too long")])
def test_bytes_with_another_digest_are_completed_nowhere(registries: Registries, trouble: Trouble) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.source.on("GET", reading(BUILT), trouble, times=9)
    outcomes = registries.copy(BUILT, registries.target, registries.other)
    assert [type(o) for o in outcomes] == [DigestMismatch, DigestMismatch]
    for server in (registries.target, registries.other):
        assert reading(BUILT).rpartition("/")[2] not in server.repo(NAME).blobs
        assert not server.repo(NAME).manifests


def test_a_failing_target_does_not_stop_the_others(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.other.on("POST", "/blobs/", Trouble(status=503), times=999)
    good, bad = registries.copy(BUILT, registries.target, registries.other)
    assert isinstance(good, Staged)
    assert isinstance(bad, Unreachable)
    assert registries.holds(BUILT)


def test_one_read_serves_all_targets(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    assert all(isinstance(o, Staged) for o in registries.copy(BUILT, registries.target, registries.other))
    assert registries.source.count("GET", "/blobs/") == len(BUILT.blobs)
    assert registries.holds(BUILT, registries.other)


# --- credentials


def test_a_token_is_fetched_for_the_repository_and_kept(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.source.token, registries.target.token = "pull-1", "push-1"
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert registries.source.tokens_given == [f"repository:{NAME}:pull"]
    assert registries.target.tokens_given == [f"repository:{NAME}:pull,push"]


def test_a_token_that_expires_during_a_copy_is_renewed(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.target.token = "first"
    challenge = (("Www-Authenticate", f'Bearer realm="http://{registries.target.host}/token",service="test"'),)
    registries.target.on("PUT", "/blobs/uploads/", Trouble(status=401, headers=challenge))
    registries.target.on("PUT", "/manifests/", Trouble(status=401, headers=challenge))
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert len(registries.target.tokens_given) >= 2
    assert registries.holds(BUILT)


def test_basic_credentials_are_sent_only_on_a_challenge(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.logins[registries.source.host] = Login("me", "secret")
    registries.source.on("GET", "/manifests/", Trouble(status=401, headers=(("Www-Authenticate", "Basic realm=x"),)))
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert registries.source.authorizations[0] is None
    assert {*registries.source.authorizations} == {None, Login("me", "secret").basic}
    assert registries.source.authorizations.count(None) <= 2  # and those that were in flight when the registry said so
    assert set(registries.target.authorizations) == {None}


def test_a_redirect_to_another_host_gets_no_credentials(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.source.token = "secret"
    registries.other.push(NAME, BUILT)
    blob = max(BUILT.blobs, key=lambda d: len(BUILT.blobs[d]))
    elsewhere = (("Location", f"http://{registries.other.host}/v2/{NAME}/blobs/{blob}"),)
    registries.source.on("GET", f"/blobs/{blob}", Trouble(status=307, headers=elsewhere))
    assert isinstance(registries.copy(BUILT)[0], Staged)
    assert registries.other.requests == [("GET", f"/v2/{NAME}/blobs/{blob}")]
    assert registries.other.authorizations == [None]
    assert registries.holds(BUILT)


@pytest.mark.parametrize("nowhere", ["http://[x", "//[", "http://h:port/"])
def test_a_redirect_to_an_invalid_address_fails_only_that_copy(registries: Registries, nowhere: str) -> None:
    registries.source.push(NAME, BUILT, "v1")
    blob = max(BUILT.blobs, key=lambda d: len(BUILT.blobs[d]))
    registries.source.on("GET", f"/blobs/{blob}", Trouble(status=307, headers=(("Location", nowhere),)), times=99)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, Unreachable)


def test_an_upload_goes_to_no_other_host(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    elsewhere = (("Location", f"http://{registries.other.host}/v2/{NAME}/blobs/uploads/1"),)
    registries.target.on("POST", "/blobs/uploads/", Trouble(status=202, headers=elsewhere), times=99)
    [outcome] = registries.copy(BUILT)
    assert isinstance(outcome, Unreachable)
    assert "not at the registry" in str(outcome)
    assert registries.other.requests == []


def test_a_token_is_never_fetched_over_plain_http_from_another_machine(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    registries.logins[registries.source.host] = Login("me", "secret")
    challenge = (("Www-Authenticate", 'Bearer realm="http://elsewhere.invalid/token"'),)
    registries.source.on("GET", "/manifests/", Trouble(status=401, headers=challenge), times=9)
    with pytest.raises(NotAllowed, match="not encrypted"):
        registries.copy(BUILT)


# --- referrers


@pytest.mark.parametrize("api", [True, False])
@pytest.mark.parametrize("target_api", [True, False])
def test_referrers_are_copied_with_and_without_the_referrers_api(
    registries: Registries, api: bool, target_api: bool
) -> None:
    built = index(image("a"), image("b", architecture="arm64"))
    signed = signature(built)
    listed = sbom(next(iter([image("a")])))
    way, origin = registries.way("pull,push"), repository_at(registries.source.host, NAME)
    registries.source.referrers_api, registries.target.referrers_api = api, target_api
    registries.source.push(NAME, built, "v1")
    for made in (signed, listed):  # as a client pushes them: with the fallback tag where the referrers API is missing
        registries.source.repo(NAME).blobs.update({str(d): raw for d, raw in made.blobs.items()})
        way.put_manifest(origin, made.root)
    [outcome] = registries.copy(built)
    assert isinstance(outcome, Staged), outcome
    for made in (built, signed, listed):
        assert registries.holds(made)
    found = registries.way().referrers(repository_at(registries.target.host, NAME), built.digest)
    assert [d.digest for d in found] == [signed.digest]
    fallback = f"sha256-{built.digest.hex}"
    assert (fallback in registries.target.repo(NAME).tags) is not target_api


def test_the_fallback_list_keeps_entries_of_others(registries: Registries) -> None:
    built = image("a")
    registries.target.referrers_api = False
    way, place = registries.way("pull,push"), repository_at(registries.target.host, NAME)
    registries.target.push(NAME, built, "v1")
    for made in (signature(built), sbom(built), signature(built)):
        registries.target.repo(NAME).blobs.update({str(d): raw for d, raw in made.blobs.items()})
        way.put_manifest(place, made.root)
    assert {d.digest for d in registries.way().referrers(place, built.digest)} == {
        signature(built).digest,
        sbom(built).digest,
    }


def test_a_damaged_referrer_is_reported_and_stops_nothing(registries: Registries) -> None:
    built = image("a")
    registries.source.push(NAME, built, "v1")
    registries.source.push(NAME, signature(built))
    digest = str(signature(built).digest)
    registries.source.repo(NAME).manifests[digest] = (
        registries.source.repo(NAME).manifests[digest][0] + b" ",
        registries.source.repo(NAME).manifests[digest][1],
    )
    [outcome] = registries.copy(built)
    assert isinstance(outcome, Staged), outcome
    assert list(outcome.refused_referrers) == [digest]
    assert registries.holds(built)


def test_a_referrer_whose_blob_is_lost_is_reported_and_stops_nothing(registries: Registries) -> None:
    built = image("a")
    signed = signature(built)
    registries.source.push(NAME, built, "v1")
    registries.source.push(NAME, signed)
    own = next(d for d in signed.blobs if d not in built.blobs)
    del registries.source.repo(NAME).blobs[str(own)]
    [outcome] = registries.copy(built)
    assert isinstance(outcome, Staged), outcome
    assert list(outcome.refused_referrers) == [signed.digest]
    assert own in outcome.refused_referrers[signed.digest]
    assert registries.holds(built)


# --- several images at once


def test_shared_blobs_are_copied_once(registries: Registries) -> None:
    base = big_layer(50_000)
    builts = [image(base, f"own-{n}") for n in range(6)]
    for n, built in enumerate(builts):
        registries.source.push(NAME, built, f"v{n}")
    origin, place = repository_at(registries.source.host, NAME), repository_at(registries.target.host, NAME)
    members, errors = read_graphs(registries.way(), origin, [b.digest for b in builts])
    assert members is not None
    assert errors == {}
    done = stage(registries.way(), origin, registries.way("pull,push"), [place], members, CopyOptions(lambda: math.inf))
    assert isinstance(done[place], Staged)
    assert all(registries.holds(built) for built in builts)
    assert registries.source.count("GET", f"/blobs/{base.digest}") == 1


def test_a_damaged_image_does_not_stop_the_others(registries: Registries) -> None:
    builts = [image(f"own-{n}") for n in range(4)]
    for n, built in enumerate(builts):
        registries.source.push(NAME, built, f"v{n}")
    lost = next(iter(builts[1].blobs))
    del registries.source.repo(NAME).blobs[str(lost)]
    origin, place = repository_at(registries.source.host, NAME), repository_at(registries.target.host, NAME)
    members, _ = read_graphs(registries.way(), origin, [b.digest for b in builts])
    assert members is not None
    outcome = stage(
        registries.way(), origin, registries.way("pull,push"), [place], members, CopyOptions(lambda: math.inf)
    )[place]
    assert isinstance(outcome, Staged)
    assert list(outcome.failed) == [builts[1].digest]
    assert isinstance(outcome.failed[builts[1].digest], NotFound)
    assert all(registries.holds(built) for n, built in enumerate(builts) if n != 1)
    assert not registries.holds(builts[1])


def test_blobs_are_mounted_within_a_registry(registries: Registries) -> None:
    registries.source.push(NAME, BUILT, "v1")
    origin = repository_at(registries.source.host, NAME)
    place = OciRepository(origin.registry, "team/other")
    members = read_graph(registries.way(), origin, BUILT.digest)
    outcome = stage(
        registries.way(), origin, registries.way("pull,push"), [place], members, CopyOptions(lambda: math.inf)
    )[place]
    assert isinstance(outcome, Staged)
    assert set(outcome.mounted) == set(BUILT.blobs)
    assert registries.source.count("GET", "/blobs/") == 0
