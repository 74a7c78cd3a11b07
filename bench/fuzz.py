"""Long runs of hostile input: mutates valid input, and expects a clear error or success.

    .venv/bin/python bench/fuzz.py [--seconds 60] [--seed 0] [TARGET …]

Each target gets its share of the time. A failure is printed with the shortest input that still fails; exit status 1.
Hypothesis draws and shortens; `--seed` repeats a run.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from email.message import Message as Headers
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, attestation, image, index, signature
from tallyman.adapters.aws.cloudtrail import calls_of
from tallyman.adapters.files import policy_file
from tallyman.adapters.http.headers import challenges, links
from tallyman.adapters.oci.answers import Answer
from tallyman.domain.history.seals import Segment
from tallyman.domain.images.manifest import MANIFEST_TYPES, Manifest
from tallyman.domain.images.verification import ImageConfig
from tallyman.errors import BadInput, TallymanError

ROOT = Path(__file__).resolve().parents[1]
BATCH = 200
"""Inputs of one seed."""
SLOW = 2.0
"""Seconds of processor time that one input may take."""
LARGE = 100_000
"""Characters of a policy for which SLOW is twice PyYAML's own time; a longer policy may take longer in proportion."""
HOSTILE: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 1.5, float("inf"), "", " ", "0", "*", "/", "..", "../../x", "a" * 5000),
    *("\x00", "\x1b[2J", "\u202e", "\ud800", "sha256:", "sha256:" + "0" * 64, "2026-99-99T00:00:00Z", "9999-12-31"),
    *([], {}, [[]], [{}], {"": None}, ["x"] * 50, "{{", "%s", "'", "\n"),
)


def mutated(random: Random, sample: Any) -> Any:
    """A copy of a JSON document with up to four places changed."""
    document = json.loads(json.dumps(sample))
    for _ in range(random.randint(1, 4)):
        document = _changed(random, document)
    return document


def _changed(random: Random, node: Any) -> Any:
    if isinstance(node, dict) and node and random.random() < 0.85:
        key = random.choice(sorted(node))
        how = random.random()
        if how < 0.1:
            return {k: v for k, v in node.items() if k != key}
        if how < 0.2:
            return {**node, random.choice([key.upper(), f"{key} ", "x" + key]): node[key]}
        return {**node, key: _changed(random, node[key])}
    if isinstance(node, list) and node and random.random() < 0.85:
        at = random.randrange(len(node))
        if random.random() < 0.1:
            return [*node, *node * random.randint(1, 30)]
        return [*node[:at], _changed(random, node[at]), *node[at + 1 :]]
    if isinstance(node, str) and node and random.random() < 0.5:
        at = random.randrange(len(node))
        return node[:at] + random.choice(["", "\x00", "é", "*", "/", ":", "@", " ", node]) + node[at + 1 :]
    return random.choice(HOSTILE)


def as_text(random: Random, document: Any, depth: int = 50_000) -> str:
    """The document as JSON, sometimes truncated, with doubled keys or nested too deep."""
    text = json.dumps(document)
    how = random.random()
    if how < 0.05:
        return text[: random.randrange(len(text) + 1)]
    if how < 0.08:
        return "[" * depth + text
    if how < 0.11 and text.startswith("{") and len(text) > 2:
        return f"{{{text[1:-1]},{text[1:]}"  # each key twice
    return text


def manifests(random: Random) -> None:
    """Manifests and configurations of images."""
    built = random.choice(MANIFESTS)
    raw = as_text(random, mutated(random, json.loads(built.raw))).encode("utf-8", "surrogatepass")
    try:
        manifest = Manifest.parse(raw, random.choice([*MANIFEST_TYPES, built.media_type, None, "x"]))
    except BadInput:
        pass
    else:
        assert manifest.raw == raw
    config = as_text(random, mutated(random, {"os": "linux", "architecture": "arm64", "rootfs": {"diff_ids": ["x"]}}))
    with_errors(lambda: ImageConfig.parse(config.encode("utf-8", "surrogatepass")))


def events(random: Random) -> None:
    """Messages of queues that rules fill, through the whole reaction."""
    name, body = random.choice(EVENTS)
    service = FakeStack(POLICY_READ).service(name)
    more = () if name in ("record_push", "record_scan") else (lambda: 900.0,)
    text = as_text(random, mutated(random, body))
    with_errors(lambda: service.handle(text, *more))


def commands(random: Random) -> None:
    """People's commands, through the whole reaction."""
    stack = FakeStack(POLICY_READ)
    _, body = random.choice(COMMANDS)
    text = as_text(random, mutated(random, body))
    with_errors(lambda: stack.service("record_command").handle(text, stack.sender, stack.clock()))


def policies(random: Random) -> float:
    """Policies, as data and as text. Returns the text's length as a multiple of LARGE."""
    # JSON is YAML; PyYAML's time grows with the square of the depth
    text = as_text(random, mutated(random, POLICY_DATA), depth=200)
    if random.random() < 0.3:
        at = random.randrange(len(POLICY))
        text = (
            POLICY[:at]
            + random.choice(["\t", ":", "&a ", "*a", "- ", "{", "!!python/object:os.system", "\n"])
            + POLICY[at:]
        )
    with_errors(lambda: policy_file.loads(text.encode("utf-8", "surrogatepass"), "tallyman.yaml"))
    return len(text) / LARGE


def answers(random: Random) -> None:
    """Answers of registries and of CloudTrail, and segments of the seal."""
    error = mutated(random, {"errors": [{"code": "TAG_INVALID", "message": "no", "detail": {"a": 1}}]})
    headers = Headers()
    for name in ("Retry-After", "WWW-Authenticate", "Link"):
        headers[name] = str(random.choice(HOSTILE)).encode("utf-8", "replace").decode().replace("\n", " ")
    answer = Answer(
        random.choice([200, 301, 400, 401, 404, 429, 500, 0, 999]), headers, as_text(random, error).encode()
    )
    assert isinstance(answer.error("ask"), TallymanError)
    header = _changed(random, 'Bearer realm="https://auth.example/token",service="x",scope="repository:a:pull"')
    list(challenges([str(header)]))
    list(links([str(_changed(random, '</v2/a/tags/list?last=b&n=2>; rel="next"'))], "next"))
    with_errors(lambda: calls_of(mutated(random, CALL), DEV.registry))
    segment = {
        "version": 1,
        "number": 1,
        "previous": None,
        "since": "2026-11-16T00:00:00Z",
        "until": "2026-11-16T01:00:00Z",
    }
    entries = {**segment, "entries": [["D#x", "y", "0" * 64]]}
    with_errors(lambda: Segment.parse(as_text(random, mutated(random, entries)).encode("utf-8", "surrogatepass")))


def with_errors(work: Callable[[], object]) -> None:
    """Run `work`, which may raise TallymanError; any other exception is a fault."""
    try:
        work()
    except TallymanError as error:
        str(error).encode("utf-8", "backslashreplace")


def _samples(*folders: str) -> list[tuple[str, Any]]:
    """The function and the body of each message in events/."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / "events" / folder).glob("*.json")):
            for record in json.loads(path.read_text()).get("Records", []):
                try:
                    found.append((folder, json.loads(record["body"])))
                except ValueError:
                    continue  # a sample that is invalid on purpose
    return found


APP = image("app")
MANIFESTS = [b.root for b in (APP, index(image("a"), image("b")), signature(APP), attestation(APP))]
EVENTS = _samples("record_push", "record_scan", "verify_digest")
COMMANDS = _samples("record_command")
POLICY_READ = policy_file.loads(POLICY.encode(), "tallyman.yaml")
POLICY_DATA = {
    "environments": {
        "dev": {"registries": ["111111111111/us-east-2"]},
        "prod": {"registries": ["222222222222/us-east-2"], "repository": "prod/{name}"},
    },
    "people": {"promote": ["role/a"]},
    "repositories": [
        {
            "match": "rocketseat/*",
            "create": {"immutable": True, "mutable_tags": ["latest"], "encryption": "AES256", "push": "tallyman-only"},
            "tags": {"allow": ["semver", "latest"]},
            "verify": {"layers": "content", "platforms": ["linux/amd64"]},
            "promotions": [
                {
                    "from": "dev",
                    "to": "prod",
                    "tags": ["semver", ">=1.0.0"],
                    "gates": {
                        "verified": True,
                        "scan": {
                            "max": {"critical": 0},
                            "ignore": [{"id": "CVE-2026-1", "until": "2027-01-31", "because": "x"}],
                        },
                        "soak": "24h",
                        "approvals": {"count": 1, "from": ["role/a"]},
                        "window": {"days": "mon-fri", "between": "09:00-17:00", "timezone": "UTC"},
                    },
                }
            ],
            "retention": {
                "keep": [{"newest": 20, "of": "semver"}, {"newer_than": "30d"}],
                "grace": "7d",
                "at_most": "20%",
            },
        }
    ],
}
CALL = {
    "eventName": "PutImage",
    "eventTime": "2026-11-16T01:54:34Z",
    "eventID": "b1",
    "awsRegion": "us-east-2",
    "recipientAccountId": "111111111111",
    "userIdentity": {"arn": "arn:aws:iam::111111111111:user/ana"},
    "requestParameters": {
        "repositoryName": "rocketseat/widget-server",
        "imageTag": "v1.0.0",
        "registryId": "111111111111",
    },
    "responseElements": {"image": {"imageId": {"imageTag": "v1.0.0", "imageDigest": "sha256:" + "0" * 64}}},
}
TARGETS: Mapping[str, Callable[[Random], float | None]] = {
    each.__name__: each for each in (manifests, events, commands, policies, answers)
}


class Stopped(BaseException):
    """Ends a run at once, without arguments because the time is over. Not an Exception: Hypothesis would try to shorten
    an input that is slow."""


def fuzz(target: Callable[[Random], float | None], seconds: float, first: int) -> tuple[int, str | None]:
    """How many inputs were tried until the time was over or one failed, and the failure."""
    done, batch, ends = 0, first, time.monotonic() + seconds
    while True:

        @seed(batch)
        @settings(
            max_examples=BATCH,
            deadline=None,
            database=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
        )
        @given(st.randoms(use_true_random=False))
        def inputs(random: Random) -> None:
            nonlocal done
            done += 1
            began = time.process_time()
            large = target(random) or 1.0
            took = time.process_time() - began
            if took >= SLOW * max(large, 1.0):
                raise Stopped(f"input {done} took {took:.1f} s of the processor")
            if time.monotonic() > ends:
                raise Stopped

        try:
            inputs()
        except Stopped as stopped:
            return done, f"seed {batch}: {stopped}" if stopped.args else None
        except Exception:
            return done, f"seed {batch}:\n{traceback.format_exc(limit=-6)}"
        batch += 1


def main() -> int:
    """Run the targets, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], metavar="TARGET")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    names = asked.targets or list(TARGETS)
    failed = 0
    for name in names:
        done, fault = fuzz(TARGETS[name], asked.seconds / len(names), asked.seed)
        failed += fault is not None
        print(f"{name} inputs {done}{' FAILED' if fault else ''}", flush=True)
        if fault:
            print(fault, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
