"""`sam`, with its containers on the host's network, where a function reaches a local cloud that listens on loopback.

`sam local invoke --docker-network host` leaves the container on the bridge (aws-sam-cli 1.170: it connects to every
network but that one), so this calls Docker itself. Run it with the Python of `.venv-sam`.
"""

import socket
import sys
from typing import Any

from docker.models.containers import ContainerCollection

EMULATOR = "/var/rapid/aws-lambda-rie"
create = ContainerCollection.create


def on_host_network(self: ContainerCollection, image: str, *args: Any, **options: Any) -> Any:
    """Start a container whose emulator listens on the port that `sam` would have mapped; no port is mapped."""
    entrypoint = options.get("entrypoint") or []
    if entrypoint[:1] == [EMULATOR]:
        ((_, port),) = options.pop("ports").values()
        addresses = ("--runtime-interface-emulator-address", f"127.0.0.1:{port}")
        options["entrypoint"] = [*entrypoint, *addresses, "--runtime-api-address", f"127.0.0.1:{free_port()}"]
        options["network_mode"] = "host"
    return create(self, image, *args, **options)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    from samcli.cli.main import cli

    ContainerCollection.create = on_host_network
    sys.exit(cli(prog_name="sam"))
