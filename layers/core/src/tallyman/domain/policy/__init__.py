"""The policy: the values in `tallyman.yaml`. Each key has a module with its values and their parser; `schema` lists the
keys, `parse` reads a whole file, `model` has the result.
"""

from tallyman.domain.policy.create import Create
from tallyman.domain.policy.durations import end_of_day, format_duration, parse_duration
from tallyman.domain.policy.environments import Environment
from tallyman.domain.policy.expressions import Expression
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.keep import CountedFrom, KeepMatches, KeepNewerThan, KeepNewest, KeepTag, Per
from tallyman.domain.policy.model import ANY_ROOTS, Policy
from tallyman.domain.policy.parse import parse_policy
from tallyman.domain.policy.people import People
from tallyman.domain.policy.promotions import Promotion
from tallyman.domain.policy.reading import PolicyProblem, Problem
from tallyman.domain.policy.repositories import Layers, RepositoryRule, Verify
from tallyman.domain.policy.retention import Removal, Retention
from tallyman.domain.policy.rollout import RollOut, Runs, Service
from tallyman.domain.policy.schema import json_schema
from tallyman.domain.policy.tags import TagRule, glob_expression, glob_matches
from tallyman.domain.policy.usage import UsageRules

__all__ = [
    "ANY_ROOTS",
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
    "UsageRules",
    "Verify",
    "end_of_day",
    "format_duration",
    "glob_expression",
    "glob_matches",
    "json_schema",
    "parse_duration",
    "parse_policy",
]
