"""The examples at the end of each `--help`. A test checks that every command has one, and parses each."""

_APP = "rocketseat/widget-server"
_DIGEST = "sha256:9d1475d3a210ad39c4a2be5aa91220c7d8d912ed01ae0bc9fa23671d8f22f62d"

EXAMPLES: dict[str, tuple[str, ...]] = {
    "demo": ("tallyman demo", "tallyman demo --ui"),
    "history": (
        f"tallyman history dev/{_APP}:latest",
        f"tallyman history dev/{_APP} --limit 20",
        f"tallyman history dev/{_APP}:latest --at 2026-11-16T02:00:00Z",
    ),
    "show": (f"tallyman show dev/{_APP}:v1.0.0", f"tallyman show 'prod[2]/{_APP}:v1.0.0'"),
    "verify": (f"tallyman verify dev/{_APP}:v1.0.0",),
    "why": (
        f"tallyman why dev/{_APP}:v1.0.0 --to prod",
        f"tallyman why dev/{_APP}:v1.0.0 --to prod --policy new.yaml",
    ),
    "promote": (
        f"tallyman promote dev/{_APP}:v1.0.0 --to prod",
        f"tallyman promote dev/{_APP}:v1.0.0 --to prod --override soak --because 'incident 7'",
    ),
    "pending": ("tallyman pending prod", "tallyman pending prod --rollouts"),
    "approve": (f"tallyman approve dev/{_APP}:v1.1.0 --to prod --because 'release 42'",),
    "deny": (f"tallyman deny dev/{_APP}:v1.1.0 --to prod --because 'it leaks memory'",),
    "freeze": (
        "tallyman freeze prod --because 'the shop is full until Monday'",
        f"tallyman freeze prod/{_APP} --because 'incident 7'",
    ),
    "thaw": ("tallyman thaw prod",),
    "check post": (
        f"tallyman check post dev/{_APP}:v1.1.0 e2e --passed --because https://ci.example.com/runs/42",
        f"tallyman check post dev/{_APP}:v1.1.0 load --failed --because 'p99 is 2 s'",
    ),
    "recall": (f"tallyman recall dev/{_APP}@{_DIGEST} --roll-back --because 'it mines coins'",),
    "release list": ("tallyman release list prod",),
    "release show": (
        f"tallyman release show prod/{_APP}",
        f"tallyman release show prod/{_APP} --at 2026-11-16T12:00:00Z",
    ),
    "release roll-back": (f"tallyman release roll-back prod/{_APP} --to v1.2.2 --because 'v1.2.3 answers slowly'",),
    "reconcile": ("tallyman reconcile", f"tallyman reconcile dev/{_APP}"),
    "copy": (
        "tallyman copy docker.io/library/alpine:3.19 localhost:5000/base/alpine oci:backup/alpine",
        f"tallyman copy --all-tags --dry-run dev/{_APP} prod/{_APP}",
    ),
    "list": ("tallyman list", "tallyman list prod", f"tallyman list dev/{_APP}"),
    "find": ("tallyman find CVE-2026-1234", "tallyman find openssl", "tallyman find 9fceb02"),
    "tree": (f"tallyman tree dev/{_APP}:v1.0.0",),
    "diff": (f"tallyman diff prod/{_APP}:v1.0.0 dev/{_APP}:v1.1.0",),
    "watch": ("tallyman watch", "tallyman watch widget --since 2026-11-16T00:00:00Z --json"),
    "cost": ("tallyman cost", "tallyman cost widget --months 6"),
    "ui": ("tallyman ui", "tallyman ui --allow-changes --port 8080", "tallyman ui --export site"),
    "completion": (
        'eval "$(tallyman completion bash)"',
        "tallyman completion zsh > ~/.zfunc/_tallyman",
        "tallyman completion fish > ~/.config/fish/completions/tallyman.fish",
    ),
    "repository create": (f"tallyman repository create {_APP} --in dev",),
    "retention plan": (f"tallyman retention plan dev/{_APP}",),
    "retention apply": (f"tallyman retention apply dev/{_APP}",),
    "retention replay": (f"tallyman retention replay dev/{_APP} --policy new.yaml --since 2026-01-01",),
    "retention proof": (f"tallyman retention proof dev/{_APP}@{_DIGEST}",),
    "retention restore": (f"tallyman retention restore dev/{_APP}@{_DIGEST}",),
    "retention native": (f"tallyman retention native dev/{_APP}",),
    "audit": ("tallyman audit", "tallyman audit --since 2026-11-01T00:00:00Z --json", "tallyman audit --fix"),
    "audit ledger": (
        "tallyman audit ledger",
        f"tallyman audit ledger --head {_DIGEST}",
        "tallyman audit ledger --export ledger.jsonl",
    ),
    "letters list": ("tallyman letters list", "tallyman letters list --queue push --reason NotFound"),
    "letters show": ("tallyman letters show 5fea7756",),
    "letters replay": (
        "tallyman letters replay 5fea7756",
        "tallyman letters replay --queue verify --because 'the role of the spoke is back'",
    ),
    "letters discard": ("tallyman letters discard 5fea7756 --because 'sent by hand, no event'",),
    "policy check": ("tallyman policy check tallyman.yaml",),
    "policy trust-roots": ("tallyman policy trust-roots --root root.json",),
    "policy schema": ("tallyman policy schema > tallyman.schema.json",),
    "init": ("tallyman init", "tallyman init --hub 111111111111/us-east-2 --prod 222222222222/us-east-2"),
    "doctor": ("tallyman doctor",),
    "tag suggest": (f"tallyman tag suggest . --repository {_APP}",),
    "build": (
        f"tallyman build --push . --repository {_APP}",
        f"tallyman build --push . --repository {_APP} --platform linux/amd64,linux/arm64",
        f"tallyman build --push . --repository {_APP} --sbom sbom.spdx.json",
        f"tallyman build --push . --repository {_APP} --sign release.pem",
    ),
    "event make": ("tallyman event make", "tallyman event make record_push/push --tag v2.0.0"),
    "local start": ("tallyman local start", "tallyman local start --policy tallyman.yaml --data ~/registries"),
    "local exec": ("tallyman local exec -- bash", "tallyman local exec --scanner clean -- make integration-test"),
    "local sample": ("tallyman local sample", f"tallyman local sample dev/{_APP}:v1.1.0"),
    "local settle": ("tallyman local settle --timeout 120",),
    "local scan": (f"tallyman local scan dev/{_APP}@{_DIGEST} --finding CVE-2026-1234:CRITICAL",),
    "local chaos": ("tallyman local chaos --lose 0.2 --double 0.1 --delay 2s", "tallyman local chaos --off"),
    "local fail": ("tallyman local fail prod_2 --status 503", "tallyman local fail --off"),
}


def epilog(path: str) -> str | None:
    """The examples of a command as the last part of its help; None if it has none."""
    lines = EXAMPLES.get(path, ())
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines) if lines else None
