"""The output of `make build`: every handler imports with only its layers on the path, as in Lambda."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.stacks.templates import FUNCTIONS, ROOT, hub, logical_id

pytestmark = pytest.mark.sam
BUILD = ROOT / ".aws-sam" / "build"
UNZIPPED_LIMIT = 250 * 1024 * 1024  # Lambda's limit for a function and all its layers


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
    """The built core layer; fails if the build is older than the code."""
    built = BUILD / "CoreLayer" / "python"
    for path in (ROOT / "layers/core/src").rglob("*.py"):
        copy = built / path.relative_to(ROOT / "layers/core/src")
        if not copy.is_file() or copy.read_bytes() != path.read_bytes():
            pytest.skip(f".aws-sam/build is older than {path.relative_to(ROOT)}: run `make build` again")
    return built


def run(python: str, code: str, *path: Path, **variables: str) -> Any:
    """Run the code in an interpreter without site-packages, with only this path and environment; return its JSON."""
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
    """The function's variables, with valid values. An import may open no connection: none is answered."""
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


# verify_origin's own layer holds machine code for Lambda's processor: test_sam_invoke runs it in its container
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "verify_origin"])
def test_a_built_handler_imports_with_only_its_layers(python: str, core: Path, name: str) -> None:
    code = "import json, app, tallyman; print(json.dumps([callable(app.handler), tallyman.__file__]))"
    is_callable, where = run(python, code, BUILD / logical_id(name), core, **environment(name))
    assert is_callable
    assert Path(where).is_relative_to(core)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_built_function_contains_only_its_handler(core: Path, name: str) -> None:
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


def services() -> tuple[str, ...]:
    """The services whose models the layer contains."""
    found: dict[str, Any] = {"__name__": "finish"}
    exec((ROOT / "layers/core/finish.py").read_text(), found)
    return tuple(found["SERVICES"])


def test_the_layer_contains_the_models_of_the_services_that_adapters_use() -> None:
    sources = [p.read_text() for p in (ROOT / "layers/core/src/tallyman").rglob("*.py")]
    asked = {name for source in sources for name in re.findall(r'lients\.(?:get|later)\(\s*"([^"]+)"', source)}
    asked |= {name for source in sources for name in re.findall(r'self\.get\("([^"]+)"\)', source)}
    assert asked == set(services())


def test_the_built_layer_creates_all_clients_in_use_and_names_a_missing_model(python: str, core: Path) -> None:
    code = f"""
import json
from tallyman.adapters.aws.clients import Clients
from tallyman.domain.names import EcrRegistry
from tallyman.errors import TallymanError
clients = Clients(EcrRegistry("111111111111", "us-east-2"), "tallyman", "test")
made = [clients.get(name).meta.service_model.service_name for name in {services()!r}]
try:
    clients.get("workspaces")
except TallymanError as error:
    print(json.dumps([made, str(error)]))
"""
    made, error = run(python, code, core)
    assert made == list(services())
    assert "make a client of workspaces" in error
    assert "Unknown service" in error


def test_a_built_layers_byte_code_is_used_without_reading_its_source(python: str, core: Path) -> None:
    for source in core.rglob("*.py"):
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert compiled.is_file(), f"{source.relative_to(core)} has no byte code"
        assert compiled.read_bytes()[4:8] == (1).to_bytes(4, "little"), f"{compiled} is checked against its source"
    cached = run(python, "import json, tallyman.bootstrap as b; print(json.dumps(b.__cached__))", core)
    assert Path(cached).is_relative_to(core)


def test_function_and_layers_are_within_lambdas_size_limit(core: Path) -> None:
    assert sum(p.stat().st_size for p in core.rglob("*") if p.is_file()) < UNZIPPED_LIMIT / 2
