"""`create`: the settings for new repositories, with which existing ones are compared."""

import re
from enum import StrEnum

from tallyman.domain.policy.reading import Node, found_text
from tallyman.domain.policy.shapes import Boolean, Choice, Key, ListOf, Record, Schema, String, role_name
from tallyman.domain.policy.tags import glob_matches
from tallyman.values import value


class Encryption(StrEnum):
    """ECR's types of encryption at rest."""

    AES256 = "AES256"
    KMS = "KMS"
    KMS_DSSE = "KMS_DSSE"


class Push(StrEnum):
    """Who may push to a repository that promotions fill."""

    ANYONE = "anyone"
    TALLYMAN_ONLY = "tallyman-only"


@value
class Create:
    """The settings for new repositories, with which `reconcile` compares existing ones.

    `mutable_tags`: globs of tags that may move although `immutable`; ECR allows five. `pull`: accounts that may pull.
    `push`: with `tallyman-only`, the policy of a repository that promotions fill lets only Tallyman and the role
    `break_glass` (`role/NAME` of the repository's account) push; `anyone` leaves it to IAM.
    """

    immutable: bool = True
    mutable_tags: tuple[str, ...] = ()
    encryption: Encryption = Encryption.AES256
    kms_key: str | None = None
    scan_on_push: bool = True
    pull: tuple[str, ...] = ()
    push: Push = Push.ANYONE
    break_glass: str | None = None

    def may_move(self, tag: str) -> bool:
        """Whether the tag may move in a repository with these settings."""
        return not self.immutable or any(glob_matches(glob, tag) for glob in self.mutable_tags)


class Account:
    """An AWS account id."""

    def read(self, node: Node) -> str:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool):
            raise node.wrong(f"an account id is a string of 12 digits: put it in quotes, found {found_text(value)}")
        if not isinstance(value, str) or not re.fullmatch(r"[0-9]{12}", value):
            raise node.expected("an account id, a string of 12 digits")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^[0-9]{12}$"}


CREATE = Record(
    {
        "immutable": Key(Boolean(), "Tags can't be moved once they are pushed (default: true)."),
        "mutable_tags": Key(
            ListOf(String(r"[0-9A-Za-z._*-]{1,128}", "a tag or a glob such as latest or edge-*"), most=5),
            "Tags, or globs of tags, that may be moved although the repository is immutable; ECR accepts at most five.",
        ),
        "encryption": Key(Choice(Encryption), "How ECR encrypts layers at rest (default: AES256)."),
        "kms_key": Key(String(), "The KMS key for KMS or KMS_DSSE: ARN, id or alias; default: AWS's own key for ECR."),
        "scan_on_push": Key(Boolean(), "Each pushed image is scanned for vulnerabilities (default: true)."),
        "pull": Key(ListOf(Account()), 'Accounts that may pull, in quotes: ["222222222222"].'),
        "push": Key(
            Choice(Push),
            "Who may push to a repository that promotions fill: tallyman-only, or anyone whom IAM allows (default).",
        ),
        "break_glass": Key(role_name(), "With tallyman-only: one other role that may push, for emergencies."),
    },
    Create,
    expected="settings of a repository, as in {immutable: true, scan_on_push: true}",
)
