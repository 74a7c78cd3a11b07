"""`tallyman retention proof`, `restore`, `replay` and `native`."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.fakes.cli_stack import FakeStack
from support.fakes.retention_commands import REPOSITORY, RetentionCliStack
from support.images.builders import DEV, PROD, image, pushed
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time

PROOF_KEYS = {
    "repository",
    "digest",
    "tags",
    "kind",
    "family",
    "pushed_at",
    "pulled_at",
    "size",
    "media_type",
    "manifest",
    "action",
    "reason",
    "policy",
    "marked_at",
    "looked_at",
    "protections",
    "usage",
    "proof",
}
DOCUMENT = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {
                "tagStatus": "tagged",
                "tagPrefixList": ["v"],
                "countType": "imageCountMoreThan",
                "countNumber": 1,
            },
            "action": {"type": "expire"},
        }
    ]
}


@pytest.fixture
def retention_stack(everywhere: FakeStack) -> RetentionCliStack:
    return RetentionCliStack(everywhere)


@pytest.fixture
def gone(retention_stack: RetentionCliStack) -> Digest:
    """v1.0.0, which retention has removed."""
    old, *_ = retention_stack.versions(3)
    retention_stack.json("apply", REPOSITORY, "--yes")
    return old


def at(digest: str) -> str:
    return f"{REPOSITORY}@{digest}"


def test_a_proof_as_json_is_the_stored_one(retention_stack: RetentionCliStack, gone: Digest) -> None:
    found = retention_stack.json("proof", at(gone))
    assert set(found) == PROOF_KEYS
    written = retention_stack.system.archive.get("proofs", Digest(found.pop("proof")))
    assert written is not None
    assert json.loads(written) == found
    assert (found["digest"], found["tags"], found["action"]) == (gone, ["v1.0.0"], "remove")


def test_a_proof_shows_rule_protections_and_usage(retention_stack: RetentionCliStack, gone: Digest) -> None:
    result = retention_stack.system.run("retention", "proof", at(gone))
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == f"{DEV}@{gone}: removed"
    assert lines[1].startswith("no keep rule names any of its tags (policy sha256:")
    assert lines[3].split() == ["protection", "question", "answer"]
    protections = [line.split()[0] for line in lines[4 : lines.index("", 4)]]
    assert {"in_use", "released", "waiting", "frozen", "young", "elsewhere"} <= set(protections)
    assert sum(line.startswith("ECS") for line in lines) == 3


@pytest.mark.parametrize("command", ["proof", "restore"])
@pytest.mark.parametrize(
    ("reference", "status", "word"),
    [
        (":v1.0.0", 2, "is named by its digest"),
        ("@sha256:short", 2, "sha256:short"),
        ("@sha256:" + "0" * 64, 1, None),
    ],
)
def test_bad_input_and_missing_images(
    retention_stack: RetentionCliStack, command: str, reference: str, status: int, word: str | None
) -> None:
    result = retention_stack.system.run("retention", command, REPOSITORY + reference)
    assert (result.exit_code, result.stdout) == (status, "")
    expected = {"proof": "was not removed by retention", "restore": "it has to be built and pushed again"}
    assert (word or expected[command]) in result.stderr


def test_restore_restores_an_archived_image(retention_stack: RetentionCliStack) -> None:
    (digest,) = retention_stack.versions(1)
    retention_stack.system.registries.held(DEV).archived.add(digest)
    reported = retention_stack.json("restore", at(digest))
    assert reported == {
        "repository": str(DEV),
        "digest": digest,
        "outcome": "restored from the archive",
        "tags": ["v1.0.0"],
    }
    assert retention_stack.remover.stored == {digest: False}


def test_restore_keeps_existing_images(retention_stack: RetentionCliStack) -> None:
    (digest,) = retention_stack.versions(1)
    result = retention_stack.system.run("retention", "restore", at(digest))
    assert (result.exit_code, result.stdout) == (0, f"{DEV}@{digest}: it is there\n")
    assert retention_stack.remover.stored == {}


@pytest.mark.parametrize("status", [0, 1])
def test_restore_copies_a_removed_image_with_its_tags_from_another_registry(
    retention_stack: RetentionCliStack, gone: Digest, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[list[str]] = []

    def run(arguments: list[str], **_: Any) -> int:
        copied.append(arguments)
        return status

    monkeypatch.setattr("tallyman_cli.copy.copy.run", run)
    assert retention_stack.system.registries.push(PROD, image("v1.0.0"), "v1.0.0") == gone
    reported = retention_stack.json("restore", at(gone), status=status)
    source, target = f"{PROD.registry.host}/{PROD.name}@{gone}", f"{DEV.registry.host}/{DEV.name}:v1.0.0"
    assert copied == [[source, target, "--keep-tags"]]
    if status:
        assert "could not be copied" in reported["error"]
    else:
        assert (reported["outcome"], reported["tags"]) == (f"copied back from {PROD}", ["v1.0.0"])


def test_a_tag_taken_meanwhile_is_not_restored(
    retention_stack: RetentionCliStack, gone: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []

    def run(arguments: list[str], **_: object) -> int:
        copied.append(arguments[1])
        return 0

    monkeypatch.setattr("tallyman_cli.copy.copy.run", run)
    retention_stack.system.registries.push(PROD, image("v1.0.0"), "v1.0.0")
    retention_stack.system.registries.push(DEV, image("another"), "v1.0.0")
    assert retention_stack.json("restore", at(gone))["tags"] == []
    assert copied == [f"{DEV.registry.host}/{DEV.name}"]


def past(retention_stack: RetentionCliStack) -> Digest:
    """Three versions whose pushes are recorded; the first, which the policy would have removed."""
    found = retention_stack.versions(3)
    for number, digest in enumerate(found):
        when = retention_stack.system.clock() - timedelta(days=60 - number)
        retention_stack.system.ledger.append(pushed(digest, f"v1.{number}.0", DEV, at=when))
    return found[0]


def since(retention_stack: RetentionCliStack) -> str:
    return format_time(retention_stack.system.clock() - timedelta(days=90))


def test_replay_lists_removals_with_time_and_reason(retention_stack: RetentionCliStack) -> None:
    old = past(retention_stack)
    found = retention_stack.json("replay", REPOSITORY, "--since", since(retention_stack))
    assert set(found) == {"repository", "policy", "removed", "refused"}
    (row,) = found["removed"]
    assert set(row) == {"digest", "tags", "at", "reason", "needed"}
    assert (row["digest"], row["tags"], row["needed"]) == (old, ["v1.0.0"], [])
    result = retention_stack.system.run("retention", "replay", REPOSITORY, "--since", since(retention_stack))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["at", "tags", "digest", "reason"]
    assert "1 would have been removed, 0 of them were needed later" in result.stderr


def test_replay_exits_with_1_if_a_removed_image_was_needed_later(retention_stack: RetentionCliStack) -> None:
    old = past(retention_stack)
    retention_stack.runs(old)
    (row,) = retention_stack.json("replay", REPOSITORY, "--since", since(retention_stack), status=1)["removed"]
    assert "web/1" in row["needed"][0]


def test_replay_uses_the_named_policy(retention_stack: RetentionCliStack, tmp_path: Path) -> None:
    past(retention_stack)
    file = tmp_path / "new.yaml"
    file.write_text("environments: {dev: {registries: [111111111111/us-east-2]}}\nrepositories: [{match: '**'}]\n")
    found = retention_stack.json("replay", REPOSITORY, "--since", since(retention_stack), "--policy", str(file))
    assert found["removed"] == []
    assert found["policy"] != retention_stack.system.policy.digest


@pytest.mark.parametrize("more", [(), ("--since", "yesterday"), ("--since", "2026-01-01", "--until", "never")])
def test_replay_without_a_time_is_bad_input(retention_stack: RetentionCliStack, more: tuple[str, ...]) -> None:
    result = retention_stack.system.run("retention", "replay", REPOSITORY, *more)
    assert (result.exit_code, result.stdout) == (2, "")


def test_native_shows_ecrs_own_policy_beside_ours(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    retention_stack.system.lifecycles[DEV] = json.dumps(DOCUMENT)
    found: dict[str, Any] = retention_stack.json("native", REPOSITORY)
    assert set(found) == {"repository", "images"}
    assert all(set(i) == {"digest", "tags", "native", "rule", "action", "reason"} for i in found["images"])
    assert [(i["tags"], i["native"], i["rule"], i["action"]) for i in found["images"]] == [
        (["v1.2.0"], None, None, "keep"),
        (["v1.1.0"], "expire", 1, "keep"),
        (["v1.0.0"], "expire", 1, "remove"),
    ]
    result = retention_stack.system.run("retention", "native", REPOSITORY)
    assert result.stdout.splitlines()[0].split() == ["tags", "digest", "ECR", "Tallyman", "reason"]


def test_native_reads_a_document_from_a_file(retention_stack: RetentionCliStack, tmp_path: Path) -> None:
    retention_stack.versions(2)
    file = tmp_path / "lifecycle.json"
    file.write_text(json.dumps(DOCUMENT))
    images = retention_stack.json("native", REPOSITORY, "--file", str(file))["images"]
    assert [i["native"] for i in images] == [None, "expire"]


def test_native_without_a_document_exits_with_1(retention_stack: RetentionCliStack) -> None:
    assert "has no lifecycle policy of its own" in retention_stack.json("native", REPOSITORY, status=1)["error"]


@pytest.mark.parametrize(
    "raw", [None, b"\xff\xfe\x00", b"no JSON", b"{}", b'{"rules": [{"rulePriority": 1}]}', b'{"rules": []}']
)
def test_an_invalid_document_is_bad_input(
    retention_stack: RetentionCliStack, tmp_path: Path, raw: bytes | None
) -> None:
    file = tmp_path / "lifecycle.json"
    if raw is not None:
        file.write_bytes(raw)
    result = retention_stack.system.run("retention", "native", REPOSITORY, "--file", str(file))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("tallyman: ")


def test_a_replay_of_a_missing_repository_is_an_error(retention_stack: RetentionCliStack) -> None:
    found = retention_stack.system.json("retention", "replay", "dev/no/such", "--since", "2026-01-01", status=1)
    assert found["error"].startswith("there is no repository no/such in 111111111111/us-east-2")


@pytest.mark.parametrize(
    "times",
    [
        ("--since", "9999-12-31"),
        ("--since", "2026-01-01", "--until", "9999-12-31"),
        ("--since", "2026-01-02", "--until", "2026-01-01"),
    ],
)
def test_a_replay_of_a_time_that_is_not_past_is_bad_input(
    retention_stack: RetentionCliStack, times: tuple[str, ...]
) -> None:
    result = retention_stack.system.run("retention", "replay", REPOSITORY, *times)
    assert (result.exit_code, "a replay begins before it ends" in result.stderr) == (2, True), result.output
