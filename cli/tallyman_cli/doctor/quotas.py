"""Compares the quotas of the hub's account and region with what is there and with what promotions do."""

from collections.abc import Iterator
from typing import Any

from tallyman.adapters.aws.paging import items
from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Repository
from tallyman.settings import Settings
from tallyman.state import sweeps
from tallyman.state.sweeps import SWEEPS
from tallyman_cli.doctor.finding import OK, UNKNOWN, WARN, Finding, Site

TITLE = "quotas"
PUT, IMAGES, REPOSITORIES = "Rate of PutImage requests", "Images per repository", "Registered repositories"
"""The names in Service Quotas."""
NEAR = 0.8
"""The share of a quota from which on the check warns."""
CONCURRENCY = "Concurrent executions of Lambda"
OWN_CONCURRENCY = 17
"""Invocations of all functions at once at most, with the defaults of template.yaml's parameters: two for each queue,
and one of reconcile. A new account may run 10; functions that run for minutes take 7 of them."""
_MORE = "ask for more: aws service-quotas request-service-quota-increase --service-code ecr …"


def rates_and_counts(site: Site) -> Iterator[Finding]:
    """One for each of three quotas of ECR in the hub, as far as Service Quotas answers. Counts are those of the last
    sweep. The quotas of other accounts are not read: the roles of the stack there do not permit it."""
    found = _values(site)
    hub = site.stack.hub
    counts = {
        place: entry.value.images or 0
        for entry in SWEEPS.list(site.stack.state, sweeps.PARTITION)
        if (place := Repository.parse(entry.sk)).registry == hub
    }
    largest = max(counts, key=lambda place: counts[place], default=None)
    rate = Settings().put_rate
    for name in (PUT, IMAGES, REPOSITORIES):
        value = found.get(name)
        if value is None:
            yield Finding(TITLE, UNKNOWN, f"{name}: Service Quotas does not report it", "look in the console")
        elif name == PUT:
            text = f"{name}: {value:g} a second; promotions make {rate:g}, the rest is left for pushes"
            yield Finding(TITLE, OK, text) if value > rate else Finding(TITLE, WARN, text, _MORE)
        elif name == REPOSITORIES:
            yield _judged(name, len(counts), value, str(hub))
        elif largest is not None:
            yield _judged(name, counts[largest], value, str(largest))


def concurrency(site: Site) -> Iterator[Finding]:
    """One: whether the account may run as many functions at once as the stack has."""
    left = unreserved(site.hub("lambda"))
    text = f"{CONCURRENCY}: {left} for all functions of the account without a share of their own"
    if left >= OWN_CONCURRENCY:
        yield Finding(TITLE, OK, text)
        return
    todo = (
        f"Tallyman takes up to {OWN_CONCURRENCY} when all its queues are busy: what is throttled waits and is "
        "tried again, and other functions of the account may be throttled too; ask for more: aws service-quotas "
        "request-service-quota-increase --service-code lambda "
        "--quota-code L-B99A9384 --desired-value 1000"
    )
    yield Finding(TITLE, WARN, text, todo)


def unreserved(client: Any) -> int:
    """How many functions without a share of their own may run at once in the account. One call to Lambda."""
    with translated("read Lambda's limits of the account"):
        return int(client.get_account_settings()["AccountLimit"]["UnreservedConcurrentExecutions"])


def _values(site: Site) -> dict[str, float]:
    ask, tokens = site.hub("service-quotas").list_service_quotas, ("NextToken", "NextToken")
    listed = items(ask, {"ServiceCode": "ecr"}, "Quotas", "list ECR's quotas", tokens)
    return {quota["QuotaName"]: float(quota["Value"]) for quota in listed}


def _judged(name: str, count: int, value: float, where: str) -> Finding:
    text = f"{name}: {count} of {value:g} in {where}"
    if count < NEAR * value:
        return Finding(TITLE, OK, text)
    return Finding(TITLE, WARN, text, f"remove what nobody needs (tallyman retention plan), or {_MORE}")
