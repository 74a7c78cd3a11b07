"""The keys of a policy, and its JSON Schema for editors, made from the shapes that parse it."""

from collections.abc import Mapping

from tallyman.domain.policy.environments import Environments
from tallyman.domain.policy.gates import KnownGates
from tallyman.domain.policy.notices import NOTICES
from tallyman.domain.policy.people import PEOPLE
from tallyman.domain.policy.repositories import Repositories
from tallyman.domain.policy.shapes import Key, Schema
from tallyman.domain.policy.usage import USAGE


def top_keys(gates: KnownGates) -> Mapping[str, Key]:
    """The keys of a policy that may name these gates."""
    repositories = "The rules for repositories; the first entry that matches counts."
    return {
        "environments": Key(Environments(), "Named lists of registries that hold the same images."),
        "repositories": Key(Repositories(gates), repositories),
        "people": Key(PEOPLE, "Who may send which command."),
        "notices": Key(NOTICES, "The severity of notices, and the chat channels that get them."),
        "usage": Key(USAGE, "The sources of usage that are not read."),
    }


def json_schema(gates: KnownGates) -> Schema:
    """The JSON Schema, draft 2020-12. It accepts what no schema can refuse: contradictions, unknown environments."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tallyman policy",
        "description": "The keys of tallyman.yaml: environments, repositories, people, notices and usage.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {
            name: {"description": key.description, "anyOf": [key.shape.schema(), {"type": "null"}]}
            for name, key in top_keys(gates).items()
        },
    }
