"""The person behind a principal that AWS reports: SQS's SenderId, CloudTrail's ARN.

A person is the name of their session: `AROA…:alice` (SenderId) and `arn:aws:sts::…:assumed-role/NAME/alice` are both
`alice`, under any role. So one person does not count twice by changing roles, and can't approve their own push under
another role. The roles' trust policies must name each session after its person (`sts:RoleSessionName`).
"""

from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact


def person_of_sender(sender_id: str) -> str:
    """The session name of a SenderId: `AROA…:alice` → `alice`; an IAM user's id (`AIDA…`) is returned unchanged."""
    return sender_id.partition(":")[2] or sender_id


def person_of_arn(arn: str) -> str:
    """The last part of an ARN: the session name of an assumed role, or the name of a user."""
    return arn.rpartition(":")[2].rpartition("/")[2]


def person_of(principal: str) -> str:
    """The person behind a principal, an ARN or a SenderId."""
    return person_of_arn(principal) if principal.startswith("arn:") else person_of_sender(principal)


def who(fact: Fact) -> str:
    """Who sent the command that the fact records, for people: `alice (role/release-managers)`."""
    person = person_of_sender(fact.actor or "somebody")
    principal = Said.parse(fact).principal
    return f"{person} ({principal})" if principal else person
