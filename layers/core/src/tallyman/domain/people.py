"""Who a person is, by what AWS itself says of them: SQS's SenderId, CloudTrail's ARN.

A person is the name of their session: `AROA…:alice` (SenderId) and `arn:aws:sts::…:assumed-role/NAME/alice` are both
`alice`, under whatever role. So nobody counts twice by changing roles, and who pushed can't approve under another one.
That a session is named after its person is for the roles' trust policies to see to (`sts:RoleSessionName`).
"""

from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact


def person_of_sender(sender_id: str) -> str:
    """`AROA…:alice` → `alice`; an IAM user's id (`AIDA…`) as it is."""
    return sender_id.partition(":")[2] or sender_id


def person_of_arn(arn: str) -> str:
    """The last part of an ARN: the session of an assumed role, the name of a user."""
    return arn.rpartition(":")[2].rpartition("/")[2]


def who(fact: Fact) -> str:
    """Who said it, for people: `alice (role/release-managers)`."""
    person = person_of_sender(fact.actor or "somebody")
    principal = Said.parse(fact).principal
    return f"{person} ({principal})" if principal else person
