"""The wheel in its own environment, outside the checkout: its contents are enough for the local cloud."""

import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from support.stacks.templates import ROOT

pytestmark = pytest.mark.heavy
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; its dependencies are those of the tests' environment, without the
    checkout's packages."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("tallyman_ecr-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env/bin/python"
    places = [sysconfig.get_paths(vars={"base": str(folder / "env"), "platbase": str(folder / "env")})["purelib"]]
    others = [path for path in sys.path if path.endswith("site-packages")]
    Path(places[0], "dependencies.pth").write_text("\n".join(others))
    install = ["-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True, cwd=folder)
    return folder


def run(installed: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": f"{installed / 'env/bin'}:/usr/bin:/bin", "HOME": str(installed), "LANG": "C.UTF-8"}
    return subprocess.run(command, capture_output=True, text=True, cwd=installed, env=environment, check=False)


def test_the_demo_runs_from_the_wheel(installed: Path) -> None:
    done = run(installed, "tallyman", "demo")
    assert done.returncode == 0, done.stderr
    assert "Every step succeeded" in done.stdout


def test_the_wheel_contains_the_page(installed: Path) -> None:
    done = run(installed, "tallyman", "local", "exec", "--", "tallyman", "ui", "--export", str(installed / "site"))
    assert done.returncode == 0, done.stderr
    assert (installed / "site/index.html").is_file()
    assert (installed / "site/static/desk.css").is_file()


def test_a_command_runs_inside_a_local_cloud(installed: Path) -> None:
    done = run(installed, "tallyman", "local", "exec", "--", "sh", "-c", "tallyman policy check && which tallyman")
    assert done.returncode == 0, done.stderr
    assert str(ROOT) not in done.stdout
    assert str(installed / "env/bin/tallyman") in done.stdout


def test_the_pytest_fixture_is_available(installed: Path) -> None:
    folder = installed / "suite"
    folder.mkdir()
    (folder / "conftest.py").write_text('pytest_plugins = ["tallyman_local.pytest_plugin"]\n')
    (folder / "test_it.py").write_text(
        "import boto3\n\n\ndef test_it(local_ecr):\n"
        "    assert boto3.client('ecr', region_name='us-east-2').describe_repositories()['repositories'] == []\n"
    )
    done = run(installed, "python", "-m", "pytest", "-q", "-p", "no:randomly", str(folder))
    assert done.returncode == 0, done.stdout


def test_nothing_is_imported_from_the_checkout(installed: Path) -> None:
    code = "import tallyman, tallyman_cli, tallyman_local; print(tallyman.__file__, tallyman_local.__file__)"
    assert str(ROOT) not in run(installed, "python", "-c", code).stdout


def third_party(folder: str) -> set[str]:
    """The distributions whose packages are imported anywhere below a folder."""
    known = packages_distributions()
    names = set()
    for file in (ROOT / folder).rglob("*.py"):
        names |= set(re.findall(r"(?m)^\s*(?:import|from) ([a-z_0-9]+)", file.read_text("utf-8")))
    found = {dist.lower().replace("_", "-") for name in names - sys.stdlib_module_names for dist in known.get(name, ())}
    return {name for name in found if not name.startswith("tallyman") and not name.endswith("-stubs")}


def named(requirements: list[str]) -> set[str]:
    """The distributions that the requirements name, including those of our own extras."""
    own = [extra for text in requirements for extra in re.findall(r"^tallyman-ecr\[(\w+)\]", text)]
    names = {re.split(r"[\[><=; ]", text)[0].lower().replace("_", "-") for text in requirements}
    return names.union(*(named(PROJECT["optional-dependencies"][extra]) for extra in own))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("layers/core/src/tallyman", ["local"]), ("cli", ["local", "trust-roots"]), ("local", ["local"])],
)
def test_every_import_is_a_dependency_or_in_an_extra(folder: str, extras: list[str]) -> None:
    allowed = named(PROJECT["dependencies"])
    allowed |= {name for extra in extras for name in named(PROJECT["optional-dependencies"][extra])}
    allowed |= {"botocore", "responses", "markupsafe"}  # of boto3, moto and Jinja2
    allowed |= {"pytest", "apig-wsgi"}  # the fixture is for users with pytest, the page's handler for page.yaml's layer
    assert third_party(folder) - allowed == set()


def test_the_name_of_the_distribution_is_ours_everywhere() -> None:
    assert PROJECT["name"] == "tallyman-ecr"
    for file in [*(ROOT / "cli").rglob("*.py"), *(ROOT / "local").rglob("*.py"), *(ROOT / "docs").glob("*.md")]:
        wrong = re.findall(r"pip3? install\s+[^\n]*['\" ]tallyman(?:\[\w+\])?['\"\s]", file.read_text("utf-8"))
        assert wrong == [], file
