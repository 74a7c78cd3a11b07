"""The Docker configuration of a local cloud: starts as a copy of the person's, and stores every login itself."""

import json
from pathlib import Path

from tallyman_cli.local.docker_config import docker_config

HOST = "localhost:5000"


def test_the_configuration_starts_as_a_copy_and_is_removed_at_the_end(tmp_path: Path) -> None:
    own = tmp_path / ".docker"
    (own / "cli-plugins").mkdir(parents=True)
    (own / "cli-plugins/docker-buildx").write_text("a plug-in")
    config = {"auths": {"ghcr.io": {"auth": "YTpi"}}, "credsStore": "desktop", "credHelpers": {"gcr.io": "gcloud"}}
    (own / "config.json").write_text(json.dumps(config))
    with docker_config([HOST], "QVdTOng=", {"HOME": str(tmp_path)}) as folder:
        found = json.loads((folder / "config.json").read_text())
        assert found == {
            "auths": {"ghcr.io": {"auth": "YTpi"}, HOST: {"auth": "QVdTOng="}},
            "credsStore": "desktop",
            "credHelpers": {"gcr.io": "gcloud", HOST: ""},  # "": in this file, not with the helper
        }
        assert (folder / "config.json").stat().st_mode & 0o777 == 0o600
        assert (folder / "cli-plugins/docker-buildx").read_text() == "a plug-in"
        (folder / "config.json").write_text('{"auths": {"localhost:5000": {"auth": "QVdTOng="}}}')
    assert not folder.exists()
    assert json.loads((own / "config.json").read_text()) == config
    assert (own / "cli-plugins/docker-buildx").exists()


def test_without_a_valid_configuration_it_starts_empty(tmp_path: Path) -> None:
    for text in (None, "no json", "[]"):
        if text is not None:
            (tmp_path / "config.json").write_text(text)
        with docker_config([HOST], "x", {"DOCKER_CONFIG": str(tmp_path)}) as folder:
            found = json.loads((folder / "config.json").read_text())
            assert found == {"auths": {HOST: {"auth": "x"}}}
