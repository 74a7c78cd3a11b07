"""The repository itself: requirements that anyone can install, Makefile targets that others use, no path of one
machine."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKED = ["requirements/dev.txt", "requirements/sam.txt", "layers/core/src/requirements.txt"]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a Git checkout")
    # Files that are deleted and not yet committed are still listed.
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def blocks(name: str) -> list[str]:
    """The requirements of a file, each with its continuation lines."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / name).read_text())
    return [block for block in re.split(r"\n(?=\S)", text) if block.strip()]


@pytest.mark.parametrize("name", LOCKED)
def test_every_requirement_has_one_version_and_hashes(name: str) -> None:
    assert len(blocks(name)) > 5
    for block in blocks(name):
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+ ", block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("name", [*LOCKED, "requirements/dev.in", "requirements/layer.in", "requirements/sam.in"])
def test_no_requirement_names_an_index_or_a_path(name: str) -> None:
    text = (ROOT / name).read_text()
    assert not re.search(r"(?m)^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b|://|@ file", text)


def version(name: str, package: str) -> str:
    found = re.search(rf"(?m)^{package}==(\S+)", (ROOT / name).read_text())
    assert found, f"{package} is not in {name}"
    return found[1]


@pytest.mark.parametrize("package", ["boto3", "botocore", "urllib3", "pyyaml", "aws-lambda-powertools", "tzdata"])
def test_the_tests_use_the_layers_versions(package: str) -> None:
    layer, dev = (version(name, package) for name in ("layers/core/src/requirements.txt", "requirements/dev.txt"))
    assert layer == dev


def test_the_makefile_targets_that_others_use_exist() -> None:
    targets = set(re.findall(r"(?m)^([a-z][a-z-]*):", (ROOT / "Makefile").read_text()))
    assert {"demo", "test", "check", "build", "invoke", "deploy"} <= targets


def test_one_recipe_creates_the_environment_for_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    assert len(re.findall(r"(?m)^\$\(VENV\)/\.ready:", text)) == 1
    for target in ("demo", "test", "check"):
        assert re.search(rf"(?m)^{target}: \$\(VENV\)/\.ready\b", text), target


def test_nothing_refers_to_a_folder_outside_the_repository() -> None:
    outside = re.compile(r"\.\./" + r"shared|/" + r"work/main|/" + r"opt/pypi|/" + r"root/\.pyenv")
    for path in tracked():
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            continue  # not text
        assert not outside.search(text), path


def test_modules_named_in_docstrings_exist() -> None:
    """By its path from a folder of code, such as domain/policy/model.py."""
    sources = [path for path in tracked() if path.suffix == ".py" and path.parts[len(ROOT.parts)] != "tests"]
    there = [path.as_posix() for path in tracked() if path.suffix == ".py"]
    named = {
        (path.name, name)
        for path in sources
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_0-9]+\.py)`", path.read_text("utf-8"))
    }
    assert len(named) > 5
    assert [each for each in sorted(named) if not any(path.endswith(f"/{each[1]}") for path in there)] == []


def test_scripts_are_executable() -> None:
    for path in [*(ROOT / "tests/tools").glob("*.sh"), ROOT / ".ci/run"]:
        assert path.stat().st_mode & 0o111, path
        done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
