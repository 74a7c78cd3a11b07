"""The stack that commands find in tests."""

from dataclasses import replace
from pathlib import Path

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import DEV, PROD, PROD_SA
from tallyman.adapters.files import policy_file
from tallyman_cli.shared import context
from tallyman_cli.shared.chosen import chosen


@pytest.fixture(autouse=True)
def no_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the settings of the person who runs the tests."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("settings")))


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> FakeStack:
    """The stack that every command finds; the environment names no other."""
    for name in ("TALLYMAN_STACK", "TALLYMAN_POLICY", "TALLYMAN_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    made = FakeStack(policy_file.loads(POLICY.encode()).for_hub(DEV.registry))

    def connect(stack: str | None = None, policy: Path | None = None) -> context.Stack:
        file = policy or chosen.policy
        given = policy_file.load(file) if file else made.stack.given
        return replace(made.stack, given=given)

    monkeypatch.setattr(context, "connect", connect)
    return made


@pytest.fixture
def everywhere(system: FakeStack) -> FakeStack:
    """The same, with the repository in prod too."""
    system.registries.add(PROD)
    system.registries.add(PROD_SA)
    return system
