"""Logins of `docker login`: our credentials for each registry, and which contents of the file are invalid."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tallyman.adapters.oci.auth import Login
from tallyman.domain.locations import OciRepository, repository_at
from tallyman.errors import BadInput
from tallyman_cli.copy.docker_logins import DockerLogins

AUTH = base64.b64encode(b"me:a:word").decode()
ME = Login("me", "a:word")


def logins(folder: Path, config: Any, **environ: str) -> DockerLogins:
    (folder / ".docker").mkdir()
    (folder / ".docker/config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return DockerLogins({"HOME": str(folder), **environ})


def at(host: str) -> OciRepository:
    return repository_at(host, "team/app")


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("registry.example.com", "registry.example.com"),
        ("https://registry.example.com", "registry.example.com"),
        ("http://localhost:5000", "localhost:5000"),
        ("https://registry.example.com/v2/", "registry.example.com"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_a_host_is_found_as_docker_writes_it(tmp_path: Path, key: str, host: str) -> None:
    found = logins(tmp_path, {"auths": {key: {"auth": AUTH}}})
    assert found(at(host)) == ME
    assert found(at("other.example.com")) is None


def test_a_token_and_a_name_without_encoding_are_read(tmp_path: Path) -> None:
    found = logins(
        tmp_path,
        {"auths": {"a.io": {"identitytoken": "t"}, "b.io": {"username": "u", "password": "p"}, "c.io": {}, "d.io": 1}},
    )
    assert [found(at(host)) for host in ("a.io", "b.io", "c.io", "d.io")] == [
        Login("", refresh="t"),
        Login("u", "p"),
        None,
        None,
    ]


def test_another_folder_is_named_by_its_variable(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"a.io": {"auth": AUTH}}}))
    found = DockerLogins({"HOME": "/nowhere", "DOCKER_CONFIG": str(tmp_path)})
    assert found(at("a.io")) == ME


def test_without_a_login_there_are_no_credentials(tmp_path: Path) -> None:
    assert DockerLogins({"HOME": str(tmp_path)})(at("a.io")) is None


@pytest.mark.parametrize(
    "auth", ["?", "bWU6d29yZA", "é" * 4, base64.b64encode(b"word").decode(), base64.b64encode(b"\xff:\xff").decode()]
)
def test_an_unreadable_auth_value_is_bad_input(tmp_path: Path, auth: str) -> None:
    with pytest.raises(BadInput, match=r"the auth of a\.io is not base64 of user:password"):
        logins(tmp_path, {"auths": {"a.io": {"auth": auth}}})(at("a.io"))


@pytest.mark.parametrize("text", ["{", "[]", '"'])
def test_an_unreadable_file_is_bad_input(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadInput, match=r"config\.json"):
        logins(tmp_path, text)(at("a.io"))


@pytest.mark.parametrize(
    ("script", "login"),
    [
        ('echo \'{"Username": "u", "Secret": "s"}\'', Login("u", "s")),
        ('echo \'{"Username": "<token>", "Secret": "s"}\'', Login("", refresh="s")),
        ("exit 1", None),
        ('read host; test "$host" = a.io && echo \'{"Username": "it", "Secret": "was"}\'', Login("it", "was")),
    ],
)
def test_a_credential_helper_is_called_for_its_host(tmp_path: Path, script: str, login: Login | None) -> None:
    helper = tmp_path / "docker-credential-mine"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)
    found = logins(tmp_path, {"credHelpers": {"a.io": "mine"}}, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found(at("a.io")) == login


@pytest.mark.parametrize("helper", ["../evil", "is-not-here"])
def test_a_helper_that_cannot_be_run_is_bad_input(tmp_path: Path, helper: str) -> None:
    with pytest.raises(BadInput, match=helper):
        logins(tmp_path, {"credsStore": helper}, PATH=str(tmp_path))(at("a.io"))
