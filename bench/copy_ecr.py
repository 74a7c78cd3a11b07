"""Run the local ECR alone, without functions, which would be measured too.

    python bench/copy_ecr.py FOLDER

Writes its ports and a token as one line of JSON, then answers each line of its input with one line.
"""

import io
import json
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import Callbacks, Identity, LocalEcr
from tallyman_local.server.http import Listener

DEV, PROD = EcrRegistry("111111111111", "us-east-2"), EcrRegistry("222222222222", "us-east-2")
WHO = Identity(DEV.account, f"arn:aws:iam::{DEV.account}:user/bench", "AIDABENCH")


class Counted:
    """A WSGI application that counts its calls; `about`: only those with this in the body."""

    def __init__(self, app: Any, about: bytes = b"") -> None:
        self.app, self.about, self.count, self._lock = app, about, 0, threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> Any:
        matches = True
        if self.about:
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"], matches = io.BytesIO(body), self.about in body
        with self._lock:
            self.count += matches
        return self.app(environ, start_response)


def main() -> None:
    """Run until stdin ends."""
    ports: dict[EcrRegistry, int] = {}
    ecr = LocalEcr(
        Path(sys.argv[1]),
        Callbacks(
            clock=lambda: datetime.now(UTC),
            emit=lambda event, account, region: None,
            trail=lambda record: None,
            endpoint_of=lambda registry: f"http://localhost:{ports[registry]}",
            identify=lambda key: WHO,
        ),
    )
    apps = {registry: Counted(ecr.v2(registry)) for registry in (DEV, PROD)}
    api = Counted(ecr.api_app(), PROD.account.encode())
    listeners = {registry: Listener(app, threads=8) for registry, app in apps.items()}
    api_listener = Listener(api, threads=8)
    ports.update({registry: listener.port for registry, listener in listeners.items()})
    for listener in [api_listener, *listeners.values()]:
        listener.start()
    for registry in (DEV, PROD):
        for name in ("many", "index", "small"):
            ecr.api("CreateRepository", json.dumps({"repositoryName": name}).encode(), registry, WHO)
    _, _, body = ecr.api("GetAuthorizationToken", b"{}", DEV, WHO)
    token = json.loads(body)["authorizationData"][0]["authorizationToken"]
    say({"ports": {"dev": ports[DEV], "prod": ports[PROD]}, "api": api_listener.port, "token": token})
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "untag":
            ids = [{"imageTag": tag} for tag in command["tags"]]
            for start in range(0, len(ids), 100):
                request = {"repositoryName": command["repository"], "imageIds": ids[start : start + 100]}
                ecr.api("BatchDeleteImage", json.dumps(request).encode(), PROD, WHO)
            say({})
        elif command["do"] == "wipe":
            repository = Repository(PROD, command["repository"])
            request = {"repositoryName": repository.name, "force": True}
            ecr.api("DeleteRepository", json.dumps(request).encode(), PROD, WHO)
            ecr.api("CreateRepository", json.dumps({"repositoryName": repository.name}).encode(), PROD, WHO)
            say({})
        else:
            say({"requests": apps[PROD].count + api.count, "source": apps[DEV].count})


def say(what: dict[str, Any]) -> None:
    """Write one line of JSON."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
