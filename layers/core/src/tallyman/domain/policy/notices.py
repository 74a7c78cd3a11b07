"""`notices`: the severity of each kind, and the channels that get them."""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from types import MappingProxyType

from tallyman.domain.policy.environments import EnvironmentName
from tallyman.domain.policy.reading import Node, suggestion
from tallyman.domain.policy.shapes import Choice, Key, ListOf, Record, Schema, String
from tallyman.values import value


class Severity(StrEnum):
    """The severities of notices, the lowest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_RANK = {severity: rank for rank, severity in enumerate(Severity)}
KINDS: Mapping[str, Severity] = MappingProxyType(
    {
        "waiting": Severity.LOW,
        "not_released": Severity.LOW,
        "left_out": Severity.MEDIUM,
        "not_replicated": Severity.MEDIUM,
        "failed": Severity.MEDIUM,
        "unguarded": Severity.MEDIUM,
        "retention_refused": Severity.MEDIUM,
        "sweep_failed": Severity.MEDIUM,
        "would_not_pass": Severity.MEDIUM,
        "override": Severity.MEDIUM,
        "conflict": Severity.HIGH,
        "stuck": Severity.HIGH,
        "roll-out": Severity.HIGH,
        "recall": Severity.HIGH,
        "recalled_in_use": Severity.HIGH,
        "stowaway": Severity.HIGH,
        "seal_broken": Severity.HIGH,
    }
)
"""Every kind of notice, with its default severity."""


@value
class Route:
    """Which notices the channel `to` gets. `environments`, `kinds`: None for all."""

    to: str
    environments: tuple[str, ...] | None = None
    kinds: tuple[str, ...] | None = None
    at_least: Severity = Severity.LOW

    def takes(self, kind: str, environment: str | None, severity: Severity) -> bool:
        """Whether the channel gets such a notice. One without an environment goes to the routes of every
        environment."""
        return (
            (self.environments is None or environment is None or environment in self.environments)
            and (self.kinds is None or kind in self.kinds)
            and _RANK[severity] >= _RANK[self.at_least]
        )


@value
class NoticeRules:
    """Severities and routes. `severity`: of kinds that differ from KINDS. `page`: the URL of the team's page, or
    None."""

    severity: Mapping[str, Severity] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    page: str | None = None

    def severity_of(self, kind: str) -> Severity:
        """The severity of a kind; an unknown kind is medium."""
        return self.severity.get(kind) or KINDS.get(kind, Severity.MEDIUM)

    def channels(self, kind: str, environment: str | None) -> tuple[str, ...]:
        """The channels that get a notice, each once, in the order of the routes."""
        severity = self.severity_of(kind)
        return tuple(dict.fromkeys(r.to for r in self.routes if r.takes(kind, environment, severity)))

    def link(self, environment: str | None, repository: str | None) -> str | None:
        """The URL of the page of a repository in an environment; of the first page where either is None; None: the team
        has no page."""
        if self.page is None or not (environment and repository):
            return self.page
        # names that ECR and policies allow need no escaping
        return f"{self.page}/repository/{environment}/{repository}"


class KindOfNotice:
    """The name of a kind of notice."""

    def read(self, node: Node) -> str:
        if not isinstance(node.value, str) or node.value not in KINDS:
            hint = suggestion(node.value, tuple(KINDS)) if isinstance(node.value, str) else ""
            raise node.expected(f"a kind of notice ({', '.join(KINDS)})" + hint)
        return node.value

    def schema(self) -> Schema:
        return {"enum": list(KINDS)}


_CHANNEL = String(r"[a-z][a-z0-9-]{0,29}", "a channel: at most 30 lower-case letters, digits and hyphens")
_PAGE = String(
    r"https://[^\s/?#]+(/[^\s?#]*)?", "an address such as https://tally.example.com", lambda t: t.rstrip("/")
)
_ROUTE = Record(
    {
        "to": Key(_CHANNEL, "The channel, by its name in chat.yaml.", required=True),
        "environments": Key(
            ListOf(EnvironmentName(), least=1),
            "Notices of these environments, and those without an environment (default: all).",
        ),
        "kinds": Key(ListOf(KindOfNotice(), least=1), "Notices of these kinds (default: all)."),
        "at_least": Key(Choice(Severity), "Notices of this severity or higher (default: low)."),
    },
    Route,
    expected="a route, as in {to: releases, environments: [prod], at_least: medium}",
)
NOTICES = Record(
    {
        "severity": Key(
            Record(
                {kind: Key(Choice(Severity), f"Default: {severity}.") for kind, severity in KINDS.items()},
                lambda **severities: MappingProxyType(severities),
                expected="severities by kind, as in {waiting: medium}",
            ),
            "The severity of each kind of notice.",
        ),
        "routes": Key(ListOf(_ROUTE), "Which chat channels get which notices; mail and other subscribers get all."),
        "page": Key(_PAGE, "The address of the team's page, to which notices link."),
    },
    NoticeRules,
    expected="routes and severities of notices, as in {routes: [{to: releases, environments: [prod]}]}",
)
