"""Checks before a deployment: `make deploy` and `make deploy-build` run this first.

`python -m tallyman_cli.setup.preflight ENV` says where the stack would be deployed, and what would fail there. Exit
status: 0 deploy, 2 do not. With `--overrides` it prints sam's parameter overrides for a first deployment, or nothing.
"""

import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import botocore
import botocore.session

from tallyman.adapters.errors.translate import translated
from tallyman.adapters.files.policy_file import load
from tallyman.adapters.files.reading import text
from tallyman.domain.partitions import nearest, partition_of
from tallyman.domain.policy import Policy
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.doctor.quotas import OWN_CONCURRENCY, unreserved
from tallyman_cli.setup.files import POLICY, SAMCONFIG, overrides
from tallyman_cli.shared import output
from tallyman_cli.shared.aws import account_of
from tallyman_cli.shared.chosen import choose_region

BUCKET, LONGEST_BUCKET = "{stack}-archive-{account}-{region}", 63
BUILD = {"codebuild": "CodeBuild", "codestar-connections": "CodeConnections (CodeCommit needs none)"}
"""botocore lists the regions of CodeConnections only under its former name."""
_STACK = re.compile(r"[a-z][a-z0-9-]{0,29}")
_HOPELESS = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a stack would be deployed. `status`: its status in CloudFormation; None: it does not exist yet."""

    stack: str
    account: str
    region: str
    status: str | None


def configured(environment: str, file: Path = SAMCONFIG) -> Mapping[str, Any]:
    """The environment's part of samconfig.toml. Raises BadInput, which lists the environments, if it has none."""
    try:
        found = tomllib.loads(text(file))
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from error
    there = [name for name, part in found.items() if isinstance(part, dict) and "global" in part and name != "default"]
    if environment not in there:
        near = get_close_matches(environment, there, 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise BadInput(f"{file} has no environment '{environment}'; there are {', '.join(there)}{hint}")
    part: Mapping[str, Any] = found[environment]
    return part


def configured_target(part: Mapping[str, Any], session: Any) -> Target:
    """Where sam would deploy the stack of an environment's part. Raises BadInput as `target`, and if the part names
    another region than the session's: sam would deploy there, and every other command look elsewhere."""
    tables = [part.get(command, {}).get("parameters", {}) for command in ("deploy", "global")]
    named = next((str(table["region"]) for table in tables if table.get("region")), None)
    with translated("read the configuration of AWS"):
        region = session.get_config_variable("region")
    if named and region and named != region:
        raise BadInput(f"{SAMCONFIG} names the region {named}, but yours is {region}: set AWS_REGION={named}")
    return target(str(part["global"]["parameters"]["stack_name"]), session)


def target(stack: str, session: Any) -> Target:
    """The account, region and status of the stack. Two calls. Raises BadInput if the name is not valid, the region is
    unknown, or the stack can't be updated."""
    if not _STACK.fullmatch(stack):
        raise BadInput(f"the stack's name '{stack}': at most 30 lower-case letters, digits and hyphens, a letter first")
    with translated("read the configuration of AWS"):
        region = session.get_config_variable("region")
    if not region:
        raise BadInput("no region: set AWS_REGION (or the region of your profile)")
    if region not in partition_of(region).regions:
        meant = nearest(region)
        raise BadInput(f"AWS has no region {region}" + (f": {meant}?" if meant else ""))
    account = account_of(session, region)
    bucket = BUCKET.format(stack=stack, account=account, region=region)
    if len(bucket) > LONGEST_BUCKET:
        most = len(stack) - (len(bucket) - LONGEST_BUCKET)
        raise BadInput(
            f"the stack's name '{stack}' is too long for {region}: its bucket {bucket} would have {len(bucket)} "
            f"characters, S3 takes {LONGEST_BUCKET}; at most {most} are left for the name"
        )
    return Target(stack, account, region, _status(stack, session, region))


def _status(stack: str, session: Any, region: str) -> str | None:
    try:
        with translated(f"look for the stack {stack}"):
            answer = session.create_client("cloudformation", region_name=region).describe_stacks(StackName=stack)
    except TallymanError as error:
        if "does not exist" in str(error):
            return None
        raise
    status = str(answer["Stacks"][0]["StackStatus"])
    if status == "REVIEW_IN_PROGRESS":
        return None  # only a change set that nobody executed, such as one that was declined: sam creates the stack
    if status == "UPDATE_ROLLBACK_FAILED":
        raise BadInput(
            f"the stack {stack} is {status}: mend what its events name, then run "
            f"`aws cloudformation continue-update-rollback --stack-name {stack}`, and deploy again"
        )
    if status in _HOPELESS:
        raise BadInput(f"the stack {stack} is {status}: delete it, then deploy again (docs/operations.md)")
    if status.endswith("_IN_PROGRESS"):
        raise BadInput(f"the stack {stack} is {status}: another operation is in progress")
    return status


def left_behind(found: Target, session: Any) -> list[str]:
    """The tables that an earlier stack of this name left, which a new one can't create."""
    names = []
    for table in (f"{found.stack}-ledger", f"{found.stack}-state"):
        try:
            with translated(f"look for the table {table}"):
                session.create_client("dynamodb", region_name=found.region).describe_table(TableName=table)
            names.append(f"the table {table}")
        except TallymanError:
            continue  # it does not exist, or may not be read: then the deployment reports it
    return names


def missing_services(found: Target, session: Any, wanted: Mapping[str, str]) -> list[str]:
    """The names of the services that botocore does not know in the region. It may be older than the service there."""
    partition = partition_of(found.region).name
    return [
        words
        for service, words in wanted.items()
        if found.region not in session.get_available_regions(service, partition_name=partition)
    ]


def notes(found: Target, policy: Policy, given: Mapping[str, str], session: Any) -> list[str]:
    """What does not prevent the deployment, but will prevent what the policy says. One call."""
    notes = []
    registries = policy.registries()
    if registries and not any((r.account, r.region) == (found.account, found.region) for r in registries):
        notes.append("no registry of the policy is here, so nothing of this account's own is watched")
    spokes = set(given.get("SpokeAccounts", "").split(","))
    if silent := sorted({r.account for r in registries} - {found.account} - spokes):
        notes.append(f"events of {', '.join(silent)} will be refused: name them in SpokeAccounts")
    rolled = [
        s
        for e in policy.environments.values()
        if e.rollout
        for s in e.rollout.services
        if found.account in {r.account for r in e.registries}
    ]
    for kind, parameter in (("ecs", "RollOutServices"), ("lambda", "RollOutFunctions")):
        if not given.get(parameter) and (named := [str(s) for s in rolled if s.runs == kind]):
            notes.append(f"releases may not move {', '.join(named)}: name them in {parameter}")
    try:
        if (left := unreserved(session.create_client("lambda", region_name=found.region))) < OWN_CONCURRENCY:
            notes.append(
                f"Lambda runs {left} functions at once here, the stack takes up to {OWN_CONCURRENCY}: busy minutes "
                "will be slow; ask for more in Service Quotas (lambda, L-B99A9384)"
            )
    except TallymanError as error:
        notes.append(str(error))
    return notes


def hub(environment: str, session: Any) -> str:
    """The lines about a deployment of the hub. Raises BadInput or PolicyError if it would fail."""
    part = configured(environment)
    policy = load(POLICY)
    found = configured_target(part, session)
    if found.status is None and (left := left_behind(found, session)):
        raise BadInput(
            f"{' and '.join(left)} are there, but no stack {found.stack}: an earlier one left them; take them in "
            "(docs/operations.md, Roll Tallyman itself back) or delete them"
        )
    said = (
        f"deploy: stack {found.stack} ({found.status or 'new'}) in {found.account}/{found.region}, {POLICY} with "
        f"{output.counted(len(policy.environments), 'environment')} and "
        f"{output.counted(len(policy.registries()), 'registry', 'registries')}"
    )
    return "\n".join([said, *(f"deploy: note: {each}" for each in notes(found, policy, overrides(part), session))])


def build(environment: str, name: str, session: Any) -> str:
    """The line about a deployment of an application's builds. Raises BadInput if it would fail."""
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", name):
        raise BadInput(f"NAME={name}: at most 20 lower-case letters, digits and hyphens, a letter first")
    stack = beside(environment, session)
    found = target(stack, session)
    missing = missing_services(found, session, BUILD)
    note = f"; botocore {botocore.__version__} knows no {', no '.join(missing)} in {found.region}" if missing else ""
    note += ": if the deployment fails there, build with CI of your own (docs/aws.md)" if missing else ""
    return f"deploy-build: stack {stack}-build-{name} in {found.account}/{found.region}, beside {stack}{note}"


def beside(environment: str, session: Any) -> str:
    """The name of the hub's stack, for a stack beside it. Raises BadInput if the hub is not deployed."""
    found = configured_target(configured(environment), session)
    if found.status is None:
        raise BadInput(
            f"there is no stack {found.stack} in {found.account}/{found.region}: make deploy ENV={environment} first"
        )
    return found.stack


def first_overrides(environment: str, session: Any) -> str:
    """sam's overrides for a first deployment: without deletion protection, with which a failed stack could not be
    deleted. Empty for a later one."""
    part = configured(environment)
    if configured_target(part, session).status is not None:
        return ""
    given = {name: value for name, value in overrides(part).items() if name != "DeletionProtection"}
    given["DeletionProtection"] = "false"
    return " ".join(f"{name}={shlex.quote(value) if value else value}" for name, value in given.items())


def main(arguments: list[str]) -> int:
    """`ENV`, `ENV --overrides`, `ENV --beside` or `ENV --build NAME`."""
    choose_region()
    session = botocore.session.get_session()
    try:
        match arguments:
            case [environment]:
                print(hub(environment, session))
            case [environment, "--overrides"]:
                print(first_overrides(environment, session))
            case [environment, "--beside"]:
                print(beside(environment, session))
            case [environment, "--build", name]:
                print(build(environment, name, session))
            case _:
                raise BadInput("usage: preflight ENV [--overrides | --beside | --build NAME]")
    except (TallymanError, OSError) as error:
        print(f"deploy: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
