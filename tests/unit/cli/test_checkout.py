"""A commit's content depends only on the repository: not on settings, a hook's variables or the kind of clone."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tallyman.errors import BadInput
from tallyman_cli.build import checkout, context
from tallyman_cli.build.checkout import decode

ME = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false",
      "-c", "protocol.file.allow=always"]  # fmt: skip


def git(folder: Path, *words: str, **environment: str) -> str:
    done = subprocess.run(
        ["git", *ME, "-C", folder, *words], capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def no_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CODEBUILD_WEBHOOK_HEAD_REF", "GITHUB_REF", "CI_COMMIT_BRANCH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "app"
    made.mkdir()
    git(made, "init", "-q", "-b", "main")
    (made / "app.py").write_text("print(1)\n")
    (made / ".gitattributes").write_text("*.py text\n")
    commit(made, "one")
    for tag in ("v1.2.0", "v1.10.0", "v1.9.0", "nightly"):
        git(made, "tag", tag)
    return made


def commit(folder: Path, message: str) -> str:
    git(folder, "add", ".")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


SETTINGS = """\
[column]
    ui = always
[color]
    ui = always
    status = always
[log]
    showSignature = true
    date = relative
[status]
    short = true
    branch = true
    showUntrackedFiles = all
    relativePaths = false
[tag]
    sort = -refname
[core]
    autocrlf = true
    eol = crlf
    abbrev = 40
    quotePath = true
    pager = false
[i18n]
    logOutputEncoding = latin1
[tar]
    umask = user
[diff]
    ignoreSubmodules = all
"""


def everything(folder: Path) -> tuple[checkout.Checkout, bytes]:
    found = checkout.read(folder)
    return found, context.archive(found)


def test_a_persons_git_settings_change_neither_the_commit_nor_the_archive(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(folder, "-c", "user.name=Aña", "commit", "-q", "--allow-empty", "--amend", "--reset-author", "-m", "one")
    git(folder, "tag", "-f", "v1.10.0")
    (folder / "lies-about").write_text("not committed")
    plain = everything(folder)
    assert (plain[0].released and plain[0].released.text, plain[0].branch) == ("v1.10.0", "main")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(SETTINGS)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LC_ALL", "pt_BR.ISO-8859-1")
    monkeypatch.setenv("GIT_PAGER", "false")
    old = os.umask(0o077)
    try:
        assert everything(folder) == plain
    finally:
        os.umask(old)


def files(raw: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        found = {entry.name: tar.extractfile(entry) for entry in tar}
        return {name: file.read() for name, file in found.items() if file is not None}


@pytest.mark.parametrize(
    ("config", "attributes"),
    [
        ("", "app.py export-ignore\n"),
        ("", "app.py export-subst eol=crlf\n"),
        ('[filter "up"]\n    smudge = tr a-z A-Z\n    clean = tr A-Z a-z\n', ""),
        ('[filter "up"]\n    smudge = false\n    clean = cat\n    required = true\n', ""),
        ("[core]\n    attributesFile = {home}/attributes\n", ""),
        ("[tar]\n    umask = 0777\n[core]\n    bigFileThreshold = 1\n    compression = 0\n", ""),
        ("[alias]\n    archive = log\n    status = log\n[trace2]\n    normalTarget = 2\n", ""),
        ("[include]\n    path = {home}/missing\n[diff]\n    noprefix = true\n    external = false\n", ""),
        ("[safe]\n    bareRepository = explicit\n[submodule]\n    recurse = true\n", ""),
    ],
)
def test_a_persons_attributes_and_filters_change_no_archive(
    folder: Path, tmp_path: Path, config: str, attributes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".gitattributes").write_text("*.py filter=up\n*.txt export-subst\n")
    (folder / "about.txt").write_text("$Format:%H %(describe:tags)$ $Format:%D$\n")
    (folder / "inside").mkdir()
    (folder / "inside/x.py").write_text("1\n")
    commit(folder, "two")
    plain = everything(folder), everything(folder / "inside")
    assert b"nightly-1-g" in files(plain[0][1])["about.txt"]
    assert set(files(plain[1][1])) == {"x.py"}
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(config.format(home=home))
    (home / "attributes").write_text("*.py export-ignore\n")
    (folder / ".git/info/attributes").write_text(attributes)
    monkeypatch.setenv("HOME", str(home))
    git(folder, "branch", "another")  # nor do branches
    assert (everything(folder), everything(folder / "inside")) == plain


@pytest.mark.parametrize(
    "config",
    [
        "[core]\n    autocrlf = true\n",
        "[core]\n    autocrlf = input\n",
        '[core]\n    attributesFile = {home}/attributes\n[filter "strip"]\n    clean = sed s/output/nothing/\n',
    ],
)
def test_a_checkout_converted_by_a_persons_settings_counts_as_unchanged(
    folder: Path, tmp_path: Path, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`git status` reads a file whose time has changed, and uses the settings of its checkout."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(config.format(home=home))
    (home / "attributes").write_text("*.txt filter=strip\n")
    monkeypatch.setenv("HOME", str(home))
    (folder / "a.txt").write_bytes(b"output\r\n" if "input" in config else b"output\n")
    commit(folder, "two")
    if "true" in config:  # whoever clones has other line endings
        git(tmp_path, "clone", "-q", str(folder), str(tmp_path / "clone"))
        folder = tmp_path / "clone"
    os.utime(folder / "a.txt", (1, 1))
    assert git(folder, "status", "--porcelain") == ""
    content = b"nothing\n" if "strip" in config else b"output\n"
    assert files(everything(folder)[1])["a.txt"] == content


def pointer(content: bytes) -> tuple[str, str]:
    oid = hashlib.sha256(content).hexdigest()
    return oid, f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"


@pytest.mark.parametrize("where", ["store", "checkout", "lfs.storage", "nowhere", "damaged"])
def test_git_lfs_files_are_in_the_context_or_refused_with_advice(folder: Path, where: str) -> None:
    oid, text = pointer(b"a large file")
    (folder / ".gitattributes").write_text("*.bin filter=lfs -text\n")
    (folder / "deep").mkdir()
    for name in ("deep/model.bin", "about-lfs.txt"):
        (folder / name).write_text(text)
    commit(folder, "two")
    store = folder / ".git" / ("elsewhere" if where == "lfs.storage" else "lfs") / "objects" / oid[:2] / oid[2:4] / oid
    if where == "lfs.storage":
        git(folder, "config", "lfs.storage", "elsewhere")
    if where == "checkout":
        (folder / "deep/model.bin").write_bytes(b"a large file")
        git(folder, "update-index", "--assume-unchanged", "deep/model.bin")  # as the filter's own cleaning produces it
    elif where != "nowhere":
        store.parent.mkdir(parents=True)
        store.write_bytes(b"a large file" if where != "damaged" else b"another")
    found = checkout.read(folder)
    if where in ("nowhere", "damaged"):
        with pytest.raises(BadInput, match=r"deep/model\.bin is kept by Git LFS.*lfs pull"):
            context.archive(found)
        return
    assert files(context.archive(found)) == {
        ".gitattributes": b"*.bin filter=lfs -text\n",
        "app.py": b"print(1)\n",
        "deep/model.bin": b"a large file",
        "about-lfs.txt": text.encode(),
    }


def test_a_partial_clone_has_all_contents_in_the_context(folder: Path, tmp_path: Path) -> None:
    git(folder, "config", "uploadpack.allowFilter", "true")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--sparse", f"file://{folder}", str(clone))
    (folder / "deep").mkdir()
    assert files(everything(clone)[1]) == files(everything(folder)[1])


def test_in_another_repositorys_hook_the_given_folder_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = everything(folder)
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    commit(other, "another")
    for name, value in {
        "GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_INDEX_FILE": str(other / ".git/index"),
        "GIT_PREFIX": "x/", "GIT_OBJECT_DIRECTORY": str(other / ".git/objects"), "GIT_TRACE": "1",
        "GIT_LITERAL_PATHSPECS": "1", "GIT_NAMESPACE": "n",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert everything(folder) == plain


def test_gits_errors_are_shown(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(
        "#!/bin/sh\necho \"fatal: detected dubious ownership in repository at '/x'\" >&2\nexit 128\n"
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=os.pathsep)
    with pytest.raises(BadInput, match=r"can't be read as a Git checkout.*detected dubious ownership"):
        checkout.read(folder)


def test_gits_warnings_are_shown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")  # how CI trusts a checkout of another user: it is kept
    checkout.read(folder)
    assert capsys.readouterr().err == ""
    (folder / ".git/refs/tags/v9.9.9").write_text("")
    checkout.read(folder)
    assert "broken ref" in capsys.readouterr().err


def test_a_shallow_clone_and_one_without_tags_are_reported(folder: Path, tmp_path: Path) -> None:
    commit(folder, "two")
    assert checkout.read(folder).doubts == ()
    git(tmp_path, "clone", "-q", "--depth", "1", folder.as_uri(), "shallow")
    (shallow, none) = checkout.read(tmp_path / "shallow").doubts
    assert "shallow" in shallow
    assert "git fetch --unshallow --tags" in shallow
    assert "v0.1.0 is assumed" in none
    git(tmp_path, "clone", "-q", "--no-tags", folder.as_uri(), "bare-of-tags")
    (doubt,) = checkout.read(tmp_path / "bare-of-tags").doubts
    assert "git fetch --tags" in doubt
    (folder / "VERSION").write_text("2.0.0")
    commit(folder, "three")
    git(tmp_path, "clone", "-q", "--depth", "1", folder.as_uri(), "with-version")
    assert checkout.read(tmp_path / "with-version").doubts == ()


def test_a_missing_version_is_reported(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "one")
    (doubt,) = checkout.read(tmp_path).doubts
    assert "no version tag in this clone and no file VERSION" in doubt


@pytest.fixture
def with_submodule(folder: Path, tmp_path: Path) -> Path:
    for name in ("deep", "lib"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "-q", "-b", "main")
        (tmp_path / name / f"{name}.txt").write_text(name)
        commit(tmp_path / name, name)
    git(tmp_path / "lib", "submodule", "add", "-q", (tmp_path / "deep").as_uri(), "deep")
    commit(tmp_path / "lib", "with deep")
    git(folder, "submodule", "add", "-q", (tmp_path / "lib").as_uri(), "vendor/lib")
    git(folder, "submodule", "update", "--init", "--recursive")
    commit(folder, "with lib")
    return folder


def test_submodules_are_in_the_context_with_the_time_of_the_commit(with_submodule: Path) -> None:
    found = checkout.read(with_submodule)
    with tarfile.open(fileobj=io.BytesIO(context.archive(found))) as archive:
        entries = {entry.name: entry for entry in archive if entry.isreg()}
    assert {"app.py", "vendor/lib/lib.txt", "vendor/lib/deep/deep.txt"} <= set(entries)
    assert {entry.mtime for entry in entries.values()} == {int(found.at.timestamp())}


def test_a_missing_submodule_is_refused_with_advice(with_submodule: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", with_submodule.as_uri(), "without")
    found = checkout.read(tmp_path / "without")
    with pytest.raises(BadInput, match=r"vendor/lib is not checked out.*git -C .* submodule update --init --recursive"):
        context.archive(found)


def test_a_submodule_at_another_commit_is_a_change(with_submodule: Path) -> None:
    git(with_submodule, "config", "submodule.vendor/lib.ignore", "all")
    commit(with_submodule / "vendor/lib", "further")
    with pytest.raises(BadInput, match=r"not what was committed .*vendor/lib"):
        checkout.read(with_submodule)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8 crlf"])
def test_a_version_file_is_read_in_the_usual_encodings(folder: Path, encoding: str) -> None:
    text = "2.0.0\r\n" if "crlf" in encoding else "2.0.0\n"
    (folder / "VERSION").write_bytes(text.encode(encoding.split()[0]))
    commit(folder, "version")
    assert checkout.read(folder).version.text == "2.0.0"


def test_a_binary_version_file_is_reported(folder: Path) -> None:
    with pytest.raises(BadInput, match="VERSION is not text in UTF-8"):
        decode(b"2.0.\xff", "VERSION")
    with pytest.raises(BadInput, match="is not text"):
        decode(b"\xff\xfe2\x00.", "VERSION")


def test_a_version_file_that_was_not_committed_does_not_count(folder: Path) -> None:
    (folder / "VERSION").write_text("9.9.9")
    assert checkout.read(folder).version.text == "v1.10.0"


def test_a_tag_named_like_the_branch_does_not_change_its_name(folder: Path) -> None:
    git(folder, "tag", "main")
    assert checkout.read(folder).branch == "main"


def test_a_replaced_object_is_not_read(folder: Path) -> None:
    plain = everything(folder)
    (folder / "app.py").write_text("print(2)\n")
    other = commit(folder, "two")
    git(folder, "reset", "-q", "--hard", plain[0].commit)
    git(folder, "replace", plain[0].commit, other)
    git(folder, "checkout", "-q", "-f", "HEAD", GIT_NO_REPLACE_OBJECTS="1")
    assert everything(folder) == plain


@pytest.mark.parametrize("environment", [{}, {"GIT_AUTHOR_NAME": "Aña"}])
def test_an_author_in_another_encoding_is_read(folder: Path, environment: Mapping[str, str]) -> None:
    name = "Aña".encode("latin1")
    raw = git(folder, "cat-file", "commit", "HEAD").encode()
    head, _, body = raw.partition(b"\n\n")
    head = head.replace(b"author Ana", b"author " + name) + b"\nencoding ISO-8859-1"
    made = subprocess.run(
        ["git", "-C", folder, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=head + b"\n\n" + body + b"\n", capture_output=True, check=True,
    ).stdout.decode().strip()  # fmt: skip
    git(folder, "update-ref", "refs/heads/main", made, **environment)
    assert checkout.read(folder).author == "Aña <ana@example.com>"


def test_a_remote_with_an_invalid_address_gives_no_source(folder: Path) -> None:
    """Its content is never shown: it may contain a password."""
    git(folder, "config", "remote.origin.url", "https://ana:secret@[example/app.git")
    assert checkout.read(folder).source is None
