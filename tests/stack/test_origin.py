"""A signature by a key of the policy, with the deployed handlers: events, verify_origin in its layer, promotion."""

import json
from pathlib import Path

from support.images import builders as b
from support.images import signing
from support.stacks.deployed import deployed, one_promotion

NAME = "rocketseat/widget-server"


def test_only_the_signature_of_the_named_key_opens_the_gate(tmp_path: Path) -> None:
    key = signing.new_key()
    app = b.image("app")
    with deployed(tmp_path, one_promotion(signed={"keys": [signing.pem(key)]})) as system:
        system.push(app, NAME, "v1.0.0")
        for signer in (signing.new_key(), key):
            assert system.digests_in(NAME, "v1.0.0") == [None, None]
            bundle = signing.bundle(signing.envelope(signer, signing.statement(app.digest)))
            made = b.referrer(app, "application/vnd.dev.sigstore.bundle.v0.3+json", json.dumps(bundle))
            system.push(made, NAME)
        assert system.digests_in(NAME, "v1.0.0") == [app.digest] * 2
        assert system.why(NAME, "v1.0.0").verdict == "promoted"
