"""`tallyman policy`: checks a policy and says what it means, prints its schema, fetches its trust roots."""

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tallyman.adapters.files.policy_file import load
from tallyman.domain.gates import GATES
from tallyman.domain.gates.order import OrderGate
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import (
    GateConfig,
    Policy,
    PolicyProblem,
    RepositoryRule,
    TagRule,
    format_duration,
    json_schema,
)
from tallyman.domain.policy.notices import NoticeRules
from tallyman.domain.replication import set_up
from tallyman.errors import NotAllowed, PolicyError, TallymanError
from tallyman_cli.setup.files import POLICY
from tallyman_cli.setup.trust_roots import trust_roots
from tallyman_cli.shared import output
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.shared.options import option

if TYPE_CHECKING:
    from tallyman.adapters.aws.clients import Clients

PLACES = (POLICY, Path("tallyman.yaml"))  # searched in this order for a policy that is not named

app = typer.Typer(help="Check a policy, print its JSON Schema, or fetch its trust roots.", no_args_is_help=True)
app.command("trust-roots")(trust_roots)


@app.command("check")
def check(
    file: Annotated[
        Path | None,
        typer.Argument(
            envvar="TALLYMAN_POLICY",
            help="The policy file; without it, layers/policy/tallyman.yaml, or else tallyman.yaml.",
        ),
    ] = None,
    offline: Annotated[
        bool, option("--offline", "Do not read from ECS how it deploys the services that releases move.")
    ] = False,
    as_json: Annotated[bool, option("--json", "Print JSON.")] = False,
) -> None:
    """Check a policy.

    Shows what the policy means, or every error with its line. If releases move ECS services and you have credentials,
    it also reads from ECS whether a release can move each service.

    Exit status: 0 valid; 2 not valid, or missing.
    """
    path = file or next((place for place in PLACES if place.is_file()), PLACES[-1])
    try:
        policy = load(path)
    except PolicyError as error:
        problems = list(error.problems) if isinstance(error, PolicyProblem) else []
        if as_json:
            listed = [{"line": p.line, "key": p.key, "message": p.message} for p in problems]
            listed = listed or [{"line": None, "key": "", "message": str(error)}]
            output.data({**dict.fromkeys(_KEYS), "file": str(path), "valid": False, "problems": listed})
        output.trouble(str(error))
        if len(problems) > 1:
            output.trouble(f"{len(problems)} problems")
        raise typer.Exit(2) from None
    services = [] if offline else services_of(policy)
    for warning in policy.warnings:
        output.trouble(f"warning: {warning}")
    for service in services:
        if service["verdict"] in _SAID:
            output.trouble(f"{_SAID[service['verdict']]}: {service['found']}")
    if as_json:
        output.data(as_data(policy) | {"services": services})
    else:
        output.put(summary(policy))


_SAID = {"failed": "warning", "unknown": "not known"}


def services_of(policy: Policy) -> list[dict[str, str]]:
    """{verdict, found} of each ECS service that releases move. Without any, nothing is read from AWS."""
    from tallyman_cli.doctor.finding import UNKNOWN
    from tallyman_cli.doctor.rollouts import deployed_how, moved_by_ecs

    if not (moved := list(moved_by_ecs(policy))):
        return []
    try:
        clients = _clients(moved[0][0].region)
    except TallymanError as error:
        return [{"verdict": UNKNOWN, "found": f"how ECS deploys the services in `rollout`: {error}"}]
    found = [deployed_how(clients, registry, service) for registry, service in moved]
    return [{"verdict": each.verdict, "found": each.found} for each in found]


def _clients(region: str) -> "Clients":
    """The person's clients, in other accounts with the stack's roles for people. Raises NotAllowed without
    credentials."""
    import botocore.session

    from tallyman.adapters.errors.translate import translated
    from tallyman_cli.shared.aws import account_of
    from tallyman_cli.shared.own_clients import PeopleClients

    with translated("ask who we are"):
        session: Any = botocore.session.get_session()
        if session.get_credentials() is None:
            raise NotAllowed("there are no credentials for AWS")
        region = session.get_config_variable("region") or region
    account = account_of(session, region)
    return PeopleClients(EcrRegistry(account, region), chosen.stack_name())


@app.command("schema")
def schema() -> None:
    """Print the JSON Schema of a policy, for editors."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The content of docs/tallyman.schema.json."""
    return json.dumps(json_schema(GATES), indent=2, ensure_ascii=False) + "\n"


_KEYS = (
    "file",
    "valid",
    "digest",
    "environments",
    "repositories",
    "people",
    "notices",
    "usage",
    "warnings",
    "problems",
    "services",
)


def as_data(policy: Policy) -> dict[str, Any]:
    """The policy as JSON data with all defaults, in the form of the file."""
    return {
        "file": policy.source,
        "valid": True,
        "digest": policy.digest,
        "environments": [
            {"name": e.name, "registries": [str(r) for r in e.registries], "repository": e.repository}
            for e in policy.environments.values()
        ],
        "repositories": [
            {
                "match": rule.match,
                "create": _plain(rule.create),
                "tags": _plain(rule.tags),
                "verify": _plain(rule.verify),
                "promotions": [
                    {
                        "from": p.source,
                        "to": p.target,
                        "tags": _plain(p.tags),
                        "gates": _plain(p.gates),
                        "overridable": list(p.overridable),
                    }
                    for p in rule.promotions
                ],
                "retention": _plain(rule.retention),
                "retention_in_words": rule.retention.in_words,
            }
            for rule in policy.repositories
        ],
        "people": _plain(policy.people),
        "notices": _plain(policy.notices),
        "usage": {"eks": {"ignore": list(policy.usage.ignored_clusters)}},
        "warnings": list(policy.warnings),
        "problems": [],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, TagRule):
        return list(value.texts)
    if isinstance(value, EcrRegistry):
        return str(value)
    if isinstance(value, GateConfig) and value.words is not None:
        return dict(value.words)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, timedelta):
        return format_duration(value)
    return value.isoformat() if isinstance(value, date) else value


def summary(policy: Policy) -> str:
    """The policy as text for people."""
    lines = [f"{policy.source} is valid ({policy.digest.short})", "", "environments"]
    for e in policy.environments.values():
        renamed = f"  (repositories are called {e.repository})" if e.repository != "{name}" else ""
        native = "  (ECR replicates from the first)" if e.replicas else ""
        lines.append(f"  {e.name:<12}{', '.join(map(str, e.registries))}{renamed}{native}")
    if not policy.environments:
        lines.append("  main        the registry of the stack's own account and region (none is named)")
    lines += ["", "repositories"]
    for rule in policy.repositories:
        lines += _rule(rule)
    if not policy.repositories:
        lines.append("  all are recorded and verified, nothing is promoted")
    people = {command: who for command, who in _plain(policy.people).items() if who is not None}
    if people:
        lines += ["", "people", *(f"  {command:<12}{', '.join(who) or 'nobody'}" for command, who in people.items())]
    lines += _notices(policy.notices)
    lines += _replication(policy)
    if policy.usage.ignored_clusters:
        lines += ["", "EKS clusters that are not read", *(f"  {each}" for each in policy.usage.ignored_clusters)]
    return "\n".join(lines)


def _replication(policy: Policy) -> list[str]:
    """The replication rules of ECR that the policy needs, which the owner of the registry has to set."""
    found = [
        f"  {e.name:<12}set this rule, beside those that the registry has (the command replaces them), without "
        f"deleteReplication:\n{'':14}{set_up(policy, e)}"
        for e in policy.environments.values()
        if e.replicas
    ]
    return ["", "replication by ECR (tallyman doctor checks whether it is set)", *found] if found else []


def _notices(rules: NoticeRules) -> list[str]:
    lines = []
    for route in rules.routes:
        kinds = ", ".join(route.kinds or ("every notice",))
        where = f" of {', '.join(route.environments)}" if route.environments else ""
        lines.append(f"  {route.to:<12}{kinds}{where}, {route.at_least} and above")
    lines += [f"  {kind} is {severity}" for kind, severity in rules.severity.items()]
    lines += [f"  link to {rules.page}"] if rules.page else []
    return ["", "notices", *lines] if lines else []


def _rule(rule: RepositoryRule) -> list[str]:
    create, kept = rule.create, rule.retention
    mutable = f" (but {', '.join(create.mutable_tags)})" if create.immutable and create.mutable_tags else ""
    created = [("immutable" if create.immutable else "mutable") + mutable, str(create.encryption)]
    created += ["scanned on push"] if create.scan_on_push else []
    rows = [("tags", str(rule.tags)), ("created", ", ".join(created)), ("verified", f"layers by {rule.verify.layers}")]
    if rule.verify.platforms:
        rows.append(("", f"platforms {', '.join(rule.verify.platforms)}"))
    for p in rule.promotions:
        rows.append(("promoted", f"{p.source} → {p.target}: {p.tags}"))
        rows += [("", f"  gate {gate}") for gate in p.gates.values()] or [("", "  no gate")]
        if str(p.gates.get("order")) != str(OrderGate()):
            rows.append(("", "  an older version is brought and tagged, and no release moves to it"))
        if p.overridable:
            rows.append(("", f"  may be overridden: {', '.join(p.overridable)}"))
    if not rule.promotions:
        rows.append(("promoted", "never"))
    rows += [
        ("" if number else "retention", f"{'  ' if number else ''}{line}") for number, line in enumerate(kept.in_words)
    ]
    return [f"  {rule.match}", *(f"    {name:<11}{text}" for name, text in rows)]
