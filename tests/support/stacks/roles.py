"""Roles of a local cloud whose policies a test changes temporarily."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.iam.models import Role, iam_backends

from tallyman_local.moto import calls as moto_calls

Change = Callable[[dict[str, Any]], dict[str, Any] | None]
"""A statement to what it is meanwhile; None: it is not there."""


def role_named(account: str, name: str) -> Role:
    """The role of this name."""
    with moto_calls.LOCK:
        return next(r for r in iam_backends[account][moto_calls.PARTITION].roles.values() if r.name == name)


@contextmanager
def changed(account: str, name: str, change: Change) -> Iterator[None]:
    """Change statements of the role's own and attached managed policies until the block ends."""
    role = role_named(account, name)
    kept, attached = dict(role.policies), dict(role.managed_policies)
    documents = [*kept.values(), *(v.document for p in attached.values() for v in p.versions if v.is_default)]
    role.managed_policies.clear()
    role.policies.clear()
    role.policies.update({f"changed-{n}": _changed(document, change) for n, document in enumerate(documents)})
    try:
        yield
    finally:
        role.policies.clear()
        role.policies.update(kept)
        role.managed_policies.update(attached)


def _changed(document: Any, change: Change) -> str:
    policy = json.loads(document) if isinstance(document, str) else json.loads(json.dumps(document))
    found = [change(statement) for statement in policy["Statement"] if statement]
    return json.dumps({**policy, "Statement": [each for each in found if each is not None]})
