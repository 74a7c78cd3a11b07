"""Chains of environments with fakes: every push causes its event, as the template's rules deliver it."""

import json
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

from support.fakes.policies import parsed
from support.fakes.promotion import PromotionStack
from support.images.builders import Built, push_event
from tallyman.domain.decide import Decision, decide_all
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.verification.verify_digest import VerifyDigest
from tallyman.state.releases import RELEASES
from tallyman.state.releases import key as release_key

NAME = "rocketseat/widget-server"


def chain(environments: Mapping[str, Any], **last: Any) -> Policy:
    """Each environment promotes to the next, verified by content; the last hop has the gates `last` too."""
    names = list(environments)
    hops = [{"from": a, "to": b, "tags": ["semver"], "gates": {"verified": True}} for a, b in pairwise(names)]
    hops[-1]["gates"] |= last  # type: ignore[operator]
    rule = {"match": "rocketseat/*", "create": {"immutable": True}, "verify": {"layers": "content"}}
    return parsed({"environments": dict(environments), "repositories": [{**rule, "promotions": hops}]})


class Chain(PromotionStack):
    """A stack in which every push causes its event, for record_push and verify_digest, as the template's rules deliver
    it."""

    delivered = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for environment in self.policy.environments:
            for place in self.places(environment):
                self.registries.add(place)

    def places(self, environment: str) -> tuple[Repository, ...]:
        return self.policy.environment(environment).repositories(NAME)

    def pushed(self, built: Built, tag: str | None) -> Digest:
        """Push to the first environment, and work until nothing is due soon."""
        first = next(iter(self.policy.environments))
        self.registries.push(self.places(first)[0], built, tag)
        self.run()
        return built.digest

    def run(self, until: timedelta = timedelta(seconds=20)) -> None:
        self.tell()
        while True:
            self.work(until, meanwhile=self.tell)  # type: ignore[arg-type]
            if not self.tell():
                return

    def tell(self) -> bool:
        new = self.registries.pushes[self.delivered :]
        self.delivered += len(new)
        for place, digest, tag in new:
            self.clock.advance(milliseconds=20)
            body = json.dumps(push_event(place, digest, tag or "", at=self.clock()))
            self.record().handle(body)
            self.verifier().handle(body, lambda: 900.0)
        return bool(new)

    def verifier(self) -> VerifyDigest:
        return VerifyDigest(self.policy, self.registries, self.ledger, self.state, self.evaluator, self.clock)

    def runs(self, environment: str) -> Digest | None:
        """The digest that the environment runs."""
        release = RELEASES.get(self.state, release_key(environment, NAME))
        return release.digest if release else None

    def decision(self, digest: Digest, to: str) -> Decision:
        facts = load_image_facts(self.ledger, self.state, digest, self.policy)
        return next(d for d in decide_all(self.policy, facts, self.clock()) if d.target == to)
