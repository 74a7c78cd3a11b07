"""A stack whose promotion to prod requires signers, and the referrers of an image there."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.fakes.cli_stack import POLICY, FakeStack
from support.images import signing
from support.images.builders import DEV, PROD, Built, cosign, image, referrer
from support.images.signing import PrivateKey, Sigstore
from tallyman.adapters.files import policy_file
from tallyman.adapters.files.signatures import OriginSignatures
from tallyman.domain.history.facts import Fact, Kind

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
V1 = "dev/rocketseat/widget-server:v1.0.0"


class Origin:
    """A stack whose promotion to prod requires signers, and an image in dev."""

    def __init__(self, system: FakeStack, folder: Path, built: Built | None = None) -> None:
        self.system, self.folder = system, folder
        system.signatures = OriginSignatures(folder)
        self.app = built or image("app")
        system.push(self.app, "v1.0.0")

    def asks(self, signed: dict[str, Any] | None, built: dict[str, Any] | None = None) -> None:
        asked = {name: gate for name, gate in (("signed", signed), ("built", built)) if gate}
        gates = json.dumps({"verified": True, **asked})
        text = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", gates)
        roots = self.system.policy.roots
        self.system.policy = replace(policy_file.loads(text.encode()).for_hub(DEV.registry), roots=roots)
        self.system.stack.given = self.system.policy

    def attach(self, made: Built, tag: str | None = None) -> None:
        """Push a referrer, and process its events."""
        self.system.push(made, tag)
        self.system.work()

    def handle(self, hint: Any, left: float = 60.0) -> str:
        self.system.clock.advance(milliseconds=1)
        said: str = self.system.services.verify_origin.handle(json.dumps(hint), lambda: left)
        return said

    def ask(self) -> str:
        found = self.handle({"verify_origin": {"repository": str(DEV), "digest": self.app.digest}})
        self.system.work()
        return found

    def gets(self, sigstore: Sigstore) -> None:
        """Deploy with these trust roots beside the policy."""
        (self.folder / "trusted_root.json").write_text(json.dumps(sigstore.roots))
        self.system.signatures = OriginSignatures(self.folder)

    def deploys(self) -> None:
        """Load the policy with the files beside it again, as the functions do."""
        found = OriginSignatures(self.folder)
        roots = ",".join(each for each in (found.roots, found.notation_roots) if each) or None
        self.system.policy = replace(self.system.policy, roots=roots)
        self.system.stack.given = self.system.policy

    def by_tag(self, key: PrivateKey, digest: str | None = None) -> None:
        payload = signing.payload(digest or self.app.digest)
        self.attach(cosign(payload, signing.simple(key, payload)), f"sha256-{self.app.digest.hex}.sig")

    def by_bundle(self, bundle: object) -> None:
        self.attach(referrer(self.app, BUNDLE, json.dumps(bundle)))

    @property
    def gate(self) -> tuple[str, str]:
        return self.reason("signed")

    def reason(self, name: str) -> tuple[str, str]:
        found = json.loads(self.system.run("why", V1, "--to", "prod", "--json").stdout)
        (gate,) = [g for g in found["gates"] if g["name"] == name]
        return gate["verdict"], gate["reason"]

    def went(self) -> bool:
        self.system.work()
        return self.system.registries.tag_of(PROD, "v1.0.0") == self.app.digest

    @property
    def facts(self) -> list[Fact]:
        return [f for f in self.system.ledger.facts if f.kind is Kind.ORIGIN]
