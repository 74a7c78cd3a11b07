"""`rollout` of an environment: the services that a release updates by digest."""

from datetime import timedelta
from enum import StrEnum

from tallyman.domain.policy.shapes import Duration, Key, ListOf, OneOf, Record, String
from tallyman.values import value


class Runs(StrEnum):
    """The kinds of services that a release can update."""

    ECS = "ecs"
    LAMBDA = "lambda"


@value
class Service:
    """A service that runs a repository's image in each registry's account and region: an ECS service
    (`cluster/service`) and its container (None: the only one), or a Lambda function and its alias."""

    runs: Runs
    name: str
    repository: str
    container: str | None = None
    alias: str | None = None

    def __str__(self) -> str:
        return f"{self.runs} {self.name}"


@value
class RollOut:
    """The services that a release updates, registry by registry in the environment's order, with a pause between."""

    services: tuple[Service, ...]
    pause: timedelta = timedelta()


_CANONICAL = Key(
    String(r"[a-z0-9][a-z0-9._/-]*", "a repository such as rocketseat/widget-server"),
    "The repository, by canonical name, whose releases update the service.",
    required=True,
)
SERVICE_RULE = OneOf(
    {
        "ecs": Record(
            {
                "ecs": Key(
                    String(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+", "cluster/service"),
                    "The ECS service, as cluster/service.",
                    required=True,
                ),
                "repository": _CANONICAL,
                "container": Key(
                    String(r"[A-Za-z0-9_-]+", "a container"), "The container to update; default: the only one."
                ),
            },
            lambda ecs, repository, container=None: Service(Runs.ECS, ecs, repository, container=container),
            expected="{ecs: cluster/service, repository: rocketseat/widget-server}",
        ),
        "lambda": Record(
            {
                "lambda": Key(
                    String(r"[A-Za-z0-9_-]{1,64}", "a function"), "The Lambda function, by name.", required=True
                ),
                "repository": _CANONICAL,
                "alias": Key(
                    String(r"[A-Za-z0-9_-]{1,128}", "an alias"),
                    "The alias that moves to the new version.",
                    required=True,
                ),
            },
            lambda function, repository, alias: Service(Runs.LAMBDA, function, repository, alias=alias),
            expected="{lambda: function, alias: live, repository: rocketseat/widget-server}",
            renamed={"lambda": "function"},
        ),
    },
    "{ecs: cluster/service, repository: …} or {lambda: function, alias: live, repository: …}",
)
"""One service of `rollout`."""


ROLL_OUT = Record(
    {
        "services": Key(
            ListOf(SERVICE_RULE, least=1),
            "The services that a release updates, in each registry's account and region.",
            required=True,
        ),
        "pause": Key(Duration(), "How long to wait between two registries, such as 10m (default: 0s)."),
    },
    RollOut,
    expected="a rollout, as in {services: [{ecs: cluster/service, repository: rocketseat/widget-server}], pause: 10m}",
)
