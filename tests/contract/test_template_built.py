"""The output of `make build`: every handler imports with nothing but its layers on the path, as in Lambda."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from templates import FUNCTIONS, ROOT, hub, logical_id

pytestmark = pytest.mark.sam
BUILD = ROOT / ".aws-sam" / "build"
UNZIPPED_LIMIT = 250 * 1024 * 1024  # Lambda's, for a function and all its layers


@pytest.fixture(scope="module")
def python() -> str:
    """A python3.13, the runtime of the template."""
    if not (BUILD / "template.yaml").is_file():
        pytest.skip("no .aws-sam/build: run `make build` first")
    found = subprocess.run([ROOT / "tests/tools/python313.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(found.stderr.strip())
    return found.stdout.strip()


@pytest.fixture(scope="module")
def core(python: str) -> Path:
    """A build that is older than the code says nothing about the code."""
    built = BUILD / "CoreLayer" / "python"
    for path in (ROOT / "layers/core/src").rglob("*.py"):
        copy = built / path.relative_to(ROOT / "layers/core/src")
        if not copy.is_file() or copy.read_bytes() != path.read_bytes():
            pytest.skip(f".aws-sam/build is older than {path.relative_to(ROOT)}: run `make build` again")
    return built


def run(python: str, code: str, *path: Path, **variables: str) -> Any:
    """What the code prints as JSON, in an interpreter without site-packages, with this path and environment only."""
    program = f"import sys; sys.path[:0] = {[str(p) for p in path]!r}\n{code}"
    done = subprocess.run(
        [python, "-E", "-s", "-S", "-c", program],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "us-east-2", **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def environment(name: str) -> dict[str, str]:
    """The function's variables, with values of the right form. An import may open no connection: none is answered."""
    own = hub()["Resources"][logical_id(name)]["Properties"]["Environment"]["Variables"]
    variables = dict.fromkeys({**hub()["Globals"]["Function"]["Environment"]["Variables"], **own}, "value")
    return variables | {
        "TALLYMAN_HUB": "111111111111/us-east-2",
        "TALLYMAN_POLICY": str(ROOT / "layers/policy/tallyman.yaml"),
        "TALLYMAN_PROMOTE_CONCURRENCY": "2",
        "POWERTOOLS_LOG_LEVEL": "INFO",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_built_handler_imports_with_nothing_but_the_layer(python: str, core: Path, name: str) -> None:
    code = "import json, app, tallyman; print(json.dumps([callable(app.handler), tallyman.__file__]))"
    is_callable, where = run(python, code, BUILD / logical_id(name), core, **environment(name))
    assert is_callable
    assert Path(where).is_relative_to(core)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_built_function_holds_its_handler_alone(core: Path, name: str) -> None:
    assert [p.name for p in (BUILD / logical_id(name)).iterdir() if p.name != "__pycache__"] == ["app.py"]


def test_the_built_layer_has_time_zones_and_the_pinned_boto3(python: str, core: Path) -> None:
    code = """
import boto3, json, zoneinfo
zoneinfo.reset_tzpath(to=[])  # not the system's
print(json.dumps([boto3.__version__, zoneinfo.ZoneInfo("America/Sao_Paulo").key]))
"""
    version, zone = run(python, code, core)
    assert f"boto3=={version} " in (ROOT / "layers/core/src/requirements.txt").read_text()
    assert zone == "America/Sao_Paulo"


def test_function_and_layers_fit_into_lambda(core: Path) -> None:
    assert sum(p.stat().st_size for p in core.rglob("*") if p.is_file()) < UNZIPPED_LIMIT / 2
