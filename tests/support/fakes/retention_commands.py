"""`tallyman retention` on fakes: a stack whose apply_retention works while a command waits."""

import json
from typing import Any

from typer.testing import CliRunner, Result

from support.fakes.cli_stack import FakeStack
from support.fakes.retention import ENFORCED
from support.images.builders import DEV, Built, image
from support.images.inventories import retention_policy
from tallyman.domain.names import Digest
from tallyman.domain.usage import Use
from tallyman_cli.main import app

REPOSITORY = f"dev/{DEV.name}"


class RetentionCliStack:
    """The stack of `system` with retention. `works`: whether the function answers; `lifecycles`: lifecycle policy
    documents."""

    def __init__(self, system: FakeStack) -> None:
        self.system = system
        self.usage, self.remover = system.usage, system.remover
        self.works = True
        self.policy(ENFORCED)
        system.stack.sleep = self._sleep

    def policy(self, text: str) -> None:
        """The active retention policy of every repository."""
        self.system.policy = self.system.stack.given = retention_policy(text)

    def push(self, tag: str | None, built: Built | None = None) -> Digest:
        """Push an image a day after the previous one."""
        self.system.clock.advance(days=1)
        return self.system.registries.push(DEV, built or image(tag or "untagged"), tag)

    def versions(self, number: int) -> list[Digest]:
        """Push v1.0.0, v1.1.0 and so on; then a day passes."""
        found = [self.push(f"v1.{n}.0") for n in range(number)]
        self.system.clock.advance(days=1)
        return found

    def runs(self, digest: Digest) -> None:
        """Let a task run the digest."""
        self.usage.uses.append(Use("ecs task", "web/1", DEV.at(digest), DEV.registry, DEV, None, digest))

    def present(self) -> set[Digest]:
        """The images of dev."""
        return {detail.digest for detail in self.system.registries.images(DEV)}

    def run(self, *arguments: str, typed: str) -> Result:
        """Run the command with these arguments."""
        return CliRunner().invoke(app, list(arguments), input=typed)

    def json(self, *arguments: str, status: int = 0) -> Any:
        """`tallyman retention` with --json, parsed."""
        return self.system.json("retention", *arguments, status=status)

    def _sleep(self, seconds: float) -> None:
        w = self.system
        w.slept += seconds
        w.clock.advance(seconds=seconds)
        if not self.works:
            return
        for queue, body, _ in w.hints.take():
            assert queue == "retention"
            w.services.apply_retention.handle(json.dumps(body))
