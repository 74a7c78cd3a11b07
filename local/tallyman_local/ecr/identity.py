"""The caller of an API."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tallyman.domain.names import EcrRegistry


@dataclass(frozen=True)
class Identity:
    """A caller: account, ARN and principal id (`AIDA…`, or `AROA…:session` for a role), as STS reports them."""

    account: str
    arn: str
    principal_id: str

    @classmethod
    def root(cls, account: str) -> "Identity":
        """The account itself."""
        return cls(account, f"arn:aws:iam::{account}:root", account)

    @property
    def principal_arn(self) -> str:
        """The value of `aws:PrincipalArn`: for a session the ARN of its role, without the role's path, which the
        session does not contain."""
        kind, _, name = self.arn.split(":", 5)[-1].partition("/")
        return f"arn:aws:iam::{self.account}:role/{name.rpartition('/')[0]}" if kind == "assumed-role" else self.arn

    def user_identity(self) -> dict[str, Any]:
        """CloudTrail's `userIdentity`."""
        identity: dict[str, Any] = {"principalId": self.principal_id, "arn": self.arn, "accountId": self.account}
        kind, _, name = self.arn.split(":", 5)[-1].partition("/")
        if kind == "assumed-role":
            issuer = {
                "type": "Role",
                "principalId": self.principal_id.partition(":")[0],
                "arn": self.principal_arn,
                "accountId": self.account,
                "userName": name.rpartition("/")[0],
            }
            return {"type": "AssumedRole", **identity, "sessionContext": {"sessionIssuer": issuer}}
        if kind == "root":
            return {"type": "Root", **identity}
        return {"type": "IAMUser", **identity, "userName": name.rpartition("/")[2]}


Api = Callable[[str, bytes, EcrRegistry, Identity], tuple[int, dict[str, str], bytes]]
"""A call of ECR's JSON API: operation, payload, registry of the caller, caller → status, headers, body."""
