"""`tallyman verify`: verify_digest reacts while the command waits."""

import pytest

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, PROD, image, multi_arch
from tallyman.errors import NotAllowed

NAME = "dev/rocketseat/widget-server"


def test_the_verdict_of_this_request_is_shown_with_its_checks(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    found = system.json("verify", f"{NAME}:v1.0.0")
    assert set(found) >= {"digest", "repository", "verdict", "checks"}
    assert (found["digest"], found["repository"], found["verdict"]) == (app.digest, str(DEV), "passed")
    assert all(set(c) == {"name", "verdict", "reason"} for c in found["checks"])
    facts = [f for f in system.ledger.of_digest(app.digest) if f.detail.get("request") == found["request"]]
    assert len(facts) == 1


def test_the_request_names_repository_digest_and_tag(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    system.works = False
    result = system.run("verify", f"{NAME}:v1.0.0", "--timeout", "3")
    assert result.exit_code == 1
    assert "no verdict" in result.stderr
    assert system.slept == pytest.approx(3)
    ((hint,),) = [body.values() for body in system.hints.to("verify")]
    assert {k: v for k, v in hint.items() if k != "request"} == {
        "repository": str(DEV),
        "digest": app.digest,
        "tag": "v1.0.0",
    }
    system.hints.take()
    system.run("verify", f"{NAME}@{app.digest}", "--timeout", "0")
    assert system.hints.to("verify")[0]["verify"]["tag"] is None


def test_a_damaged_layer_fails_and_is_named(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    layer = app.root.layers[0].digest
    system.registries.damage(DEV, layer, b"x" * app.root.layers[0].size)
    result = system.run("verify", f"{NAME}:v1.0.0")
    assert result.exit_code == 1
    assert "✗ failed" in result.stdout
    assert layer[7:19] in result.stdout
    assert system.json("verify", f"{NAME}:v1.0.0", status=1)["verdict"] == "failed"


def test_a_missing_image_is_not_waited_for(system: FakeStack) -> None:
    gone = image("gone")
    result = system.run("verify", f"{NAME}@{gone.digest}")
    assert result.exit_code == 1
    assert gone.digest in result.stderr
    assert system.hints.sent == []
    assert system.run("verify", f"prod/rocketseat/widget-server@{gone.digest}").exit_code == 1


def test_the_stack_verifies_images_that_the_person_may_not_read(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    system.registries.fail(DEV.registry, NotAllowed("not you"), times=1)
    assert system.run("verify", f"{NAME}:v1.0.0").exit_code == 0


def test_a_negative_timeout_is_bad_input(system: FakeStack) -> None:
    assert system.run("verify", f"{NAME}:v1.0.0", "--timeout", "-1").exit_code == 2
    assert system.run("verify", f"{NAME}:v1.0.0", "--timeout", "soon").exit_code == 2


def test_an_image_of_prod_is_verified_in_its_first_registry(everywhere: FakeStack) -> None:
    app = image("one")
    everywhere.push(app, "v1.0.0", PROD)
    assert everywhere.json("verify", "prod/rocketseat/widget-server:v1.0.0")["repository"] == str(PROD)
