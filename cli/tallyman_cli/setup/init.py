"""`tallyman init`: writes a policy and samconfig.toml, and prints the commands that deploy hub and spokes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tallyman.adapters.files.policy_file import loads
from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadInput
from tallyman_cli.shared import output
from tallyman_cli.shared.options import option

_POLICY = """\
# yaml-language-server: $schema=docs/tallyman.schema.json
environments:
  dev:
    registries: [{dev}]
  prod:
    registries: [{prod}]   # all of them or none{renamed}
repositories:
  - match: {parts}   # the builds' cache, and their platform images until they are joined
    create: {{immutable: false, scan_on_push: false}}
    verify: {{layers: presence}}
  - match: {match}
    create: {{immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true{pull}}}
    tags: {{allow: [semver, semver-commit, "main-*", latest]}}
    verify: {{layers: content}}
    promotions:   # an older version is copied and tagged, but not released (with the gate `order`: refused)
      - {{from: dev, to: prod, tags: [{tags}], gates: {{verified: true, scan: {{max: {{critical: 0}}}}}}}}
"""
_SAM = """\
version = 0.1

[default.global.parameters]
stack_name = "tallyman"

[prod.global.parameters]
stack_name = "tallyman"
region = "{region}"

[prod.deploy.parameters]
resolve_s3 = true
s3_prefix = "tallyman"
capabilities = "CAPABILITY_IAM CAPABILITY_NAMED_IAM"
confirm_changeset = true
fail_on_empty_changeset = false
parameter_overrides = "{parameters}"
"""


def init(  # noqa: PLR0913 - each argument is an option of the command
    hub: Annotated[
        EcrRegistry | None,
        option("--hub ACCOUNT/REGION", "The registry of the stack and of dev.", parser=EcrRegistry.parse),
    ] = None,
    prod: Annotated[
        list[EcrRegistry] | None,
        option("--prod ACCOUNT/REGION", "A registry of prod; may be repeated.", parser=EcrRegistry.parse),
    ] = None,
    match: Annotated[str, option("--repositories GLOB", "The repositories that the policy applies to.")] = "*",
    every_push: Annotated[
        bool, option("--main-to-prod", "Promote builds of main to prod automatically; without it, builds of Git tags.")
    ] = False,
    email: Annotated[str, option("--email ADDRESS", "The address that gets notices.")] = "",
    to: Annotated[Path, option("--to FOLDER", "The folder to write the files to.")] = Path(),
    force: Annotated[bool, option("--force", "Overwrite existing files.")] = False,
) -> None:
    """Write tallyman.yaml and samconfig.toml from your answers or flags, and print the commands that deploy.

    Existing files are kept unless you give --force.

    Exit status: 0 written; 2 a file exists or an answer is invalid.
    """
    hub = hub or EcrRegistry.parse(typer.prompt("The hub, where the stack and dev are (account/region)", err=True))
    if not prod:
        answer = typer.prompt(
            "The registries of prod (account/region, separated by spaces)", default=str(hub), err=True
        )
        prod = [EcrRegistry.parse(word) for word in answer.replace(",", " ").split()]
    policy = policy_text(hub, prod, match, "main-*" if every_push else "semver")
    loads(policy.encode())  # raises here for an invalid glob
    spokes = [registry for registry in prod if registry != hub]
    accounts = sorted({registry.account for registry in spokes} - {hub.account})
    overrides = [f"SpokeAccounts={','.join(accounts)}"] if accounts else []
    overrides += [f"NoticesEmail={email}"] if email else []
    sam = _SAM.format(region=hub.region, parameters=" ".join([*overrides, "DeletionProtection=true"]))
    files = {to / "tallyman.yaml": policy, to / "samconfig.toml": sam}
    if there := [str(path) for path in files if path.exists() and not force]:
        raise BadInput(f"{', '.join(there)}: exists already (--to writes elsewhere, --force overwrites)")
    to.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, "utf-8")
        output.say(f"wrote {path}")
    for line in commands(hub, spokes, to):
        output.line(line)


def policy_text(hub: EcrRegistry, prod: Sequence[EcrRegistry], match: str, tags: str) -> str:
    """A policy with dev in the hub and prod in these registries. If the hub is one of them, repositories of prod are
    called prod/NAME."""
    others = sorted({r.account for r in prod} - {hub.account})
    return _POLICY.format(
        dev=hub,
        prod=", ".join(map(str, prod)),
        renamed='\n    repository: "prod/{name}"' if hub in prod else "",
        match=f'"{match}"',
        parts=f'"{match}-parts"',
        pull=f", pull: {others}".replace("'", '"') if others else "",
        tags=f'"{tags}"',
    )


def commands(hub: EcrRegistry, spokes: Sequence[EcrRegistry], folder: Path) -> list[str]:
    """The commands to run, in order: for the hub, for each spoke, and to check the deployment."""
    lines = [
        f"# 1. the hub: credentials of account {hub.account}, region {hub.region}",
        f"cp {folder / 'tallyman.yaml'} layers/policy/tallyman.yaml",
        "make deploy ENV=prod",
    ]
    seen = {hub.account}
    for number, spoke in enumerate(spokes, 2):
        roles = str(spoke.account not in seen).lower()
        seen.add(spoke.account)
        people = "; PeopleRoles=… lets people of the hub in: docs/roles.md" if roles == "true" else ""
        lines += [
            f"# {number}. credentials of account {spoke.account}{people}",
            f"aws cloudformation deploy --template-file spoke.yaml --stack-name tallyman-spoke --region {spoke.region} "
            f"--capabilities CAPABILITY_NAMED_IAM --parameter-overrides HubAccount={hub.account} "
            f"HubRegion={hub.region} HubBusArn=arn:aws:events:{hub.region}:{hub.account}:event-bus/tallyman "
            f"CanPush=true CreateRoles={roles}",
        ]
    return [*lines, "# in the end, with credentials of the hub", "tallyman reconcile", "tallyman doctor"]
