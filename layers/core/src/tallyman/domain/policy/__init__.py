"""The policy: what `tallyman.yaml` says, as values. `model` has the words, `parse` reads them, `schema`
describes them.
"""

from tallyman.domain.policy.durations import end_of_day, format_duration, parse_duration
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.model import (
    CountedFrom,
    Create,
    Environment,
    KeepMatches,
    KeepNewerThan,
    KeepNewest,
    KeepTag,
    Layers,
    People,
    Per,
    Policy,
    Promotion,
    Removal,
    RepositoryRule,
    Retention,
    RollOut,
    Runs,
    Service,
    Verify,
)
from tallyman.domain.policy.parse import default_policy, parse_policy
from tallyman.domain.policy.reading import PolicyProblem, Problem
from tallyman.domain.policy.schema import json_schema
from tallyman.domain.policy.tags import TagRule, glob_matches

__all__ = [
    "CountedFrom",
    "Create",
    "Environment",
    "Expression",
    "GateConfig",
    "KeepMatches",
    "KeepNewerThan",
    "KeepNewest",
    "KeepTag",
    "Layers",
    "People",
    "Per",
    "Policy",
    "PolicyProblem",
    "Problem",
    "Promotion",
    "Removal",
    "RepositoryRule",
    "Retention",
    "RollOut",
    "Runs",
    "Service",
    "TagRule",
    "Verify",
    "default_policy",
    "end_of_day",
    "format_duration",
    "glob_matches",
    "json_schema",
    "parse_duration",
    "parse_policy",
]
