"""The result of a check as an event: put on the deployed bus, delivered by its rule, recorded by record_push."""

import json
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from support.images import builders as b
from support.stacks.clients import client_of
from support.stacks.deployed import deployed, one_promotion

NAME = "rocketseat/widget-server"
SENDER = "event/111111111111/acme.ci"


def test_only_an_event_of_a_named_sender_opens_the_gate(tmp_path: Path) -> None:
    with deployed(tmp_path, one_promotion(check={"name": "e2e", "from": [SENDER]})) as system:
        app = b.image("app")
        system.push(app, NAME, "v1.0.0")
        system.settle()
        said = {"repository": NAME, "digest": app.digest, "environment": "dev", "check": "e2e"}
        detail = json.dumps({**said, "result": "passed", "because": "https://ci.example.com/runs/42"})
        entry = {"EventBusName": "tallyman", "Source": "acme.ci", "DetailType": "Check Result", "Detail": detail}
        events = system.client("events")

        events.put_events(Entries=[{**entry, "Source": "acme.other"}, {**entry, "DetailType": "Check"}])
        system.settle()
        assert system.digests_in(NAME, "v1.0.0") == [None, None]
        for function in ("promote-image", "reconcile"):  # they announce releases, and pass no check
            keys = system.cloud.credentials(f"arn:aws:iam::111111111111:role/tallyman-{function}-us-east-2")
            with pytest.raises(ClientError, match=r"not authorized to perform: events:PutEvents"):
                client_of(system.cloud.url, keys, "events").put_events(Entries=[entry])
        assert events.put_events(Entries=[entry, entry])["FailedEntryCount"] == 0
        system.settle()
        assert system.digests_in(NAME, "v1.0.0") == [app.digest] * 2
        assert system.dead_letters() == []
