"""What ECR allows the hub's account and region, against what is there and what promotions do."""

from collections.abc import Iterator
from dataclasses import dataclass

from tallyman.adapters.errors.translate import translated
from tallyman.domain.names import Repository
from tallyman.settings import Settings
from tallyman.state import sweeps
from tallyman.state.sweeps import SWEEPS
from tallyman_cli.doctor.finding import OK, UNKNOWN, WARN, Finding, Site

TITLE = "quotas"
PUT, IMAGES, REPOSITORIES = "Rate of PutImage requests", "Images per repository", "Registered repositories"
"""As Service Quotas names them."""
NEAR = 0.8
CONCURRENCY = "Concurrent executions of Lambda"
OWN_CONCURRENCY = 17
"""What the functions take at once at most, by the defaults of template.yaml's parameters: two a queue, and one
reconcile. A new account has 10 for everything; those that run for minutes take 7 of them."""
_MORE = "ask for more: aws service-quotas request-service-quota-increase --service-code ecr …"


@dataclass(frozen=True, slots=True)
class Quotas:
    """Of other accounts only those know who can sign in there: their quotas are not looked at."""

    site: Site

    def findings(self) -> Iterator[Finding]:
        """One for each of three quotas of ECR. Counts are those of the last sweep."""
        found = self._values()
        hub = self.site.stack.hub
        counts = {
            place: entry.value.images or 0
            for entry in SWEEPS.list(self.site.stack.state, sweeps.PARTITION)
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

    def concurrency(self) -> Iterator[Finding]:
        """Whether the functions fit into what the account may run at once; one finding."""
        with translated("read Lambda's limits of the account"):
            limits = self.site.hub("lambda").get_account_settings()["AccountLimit"]
        left = int(limits["UnreservedConcurrentExecutions"])
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

    def _values(self) -> dict[str, float]:
        client, request = self.site.hub("service-quotas"), {"ServiceCode": "ecr"}
        values: dict[str, float] = {}
        while True:
            with translated("list ECR's quotas"):
                answer = client.list_service_quotas(**request)
            values |= {quota["QuotaName"]: float(quota["Value"]) for quota in answer["Quotas"]}
            if not answer.get("NextToken"):
                return values
            request["NextToken"] = answer["NextToken"]


def _judged(name: str, count: int, value: float, where: str) -> Finding:
    text = f"{name}: {count} of {value:g} in {where}"
    if count < NEAR * value:
        return Finding(TITLE, OK, text)
    return Finding(TITLE, WARN, text, f"remove what nobody needs (tallyman retention plan), or {_MORE}")
