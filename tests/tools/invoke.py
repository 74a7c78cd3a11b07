"""`make invoke`: one function, built, in its container, with one event, against a local cloud on this machine.

Inside `tallyman local exec` it uses that cloud; otherwise it starts one, in which the content of the events has
happened. The answer goes to stdout; the function's log and the facts and states that it wrote go to stderr. Exit
status: 1 if the function errors, or returns batch failures for an event whose name does not contain `poison`; 2 if the
function or event does not exist.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tools import invoke_cloud

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".aws-sam" / "native"
STACK = os.environ.get("TALLYMAN_STACK", "tallyman")
BASE_IMAGE = "public.ecr.aws/lambda/python:3.13-{architecture}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", required=True, choices=["arm64", "x86_64"])
    parser.add_argument("--prepare", action="store_true", help="first push the image that the events describe")
    parser.add_argument("function")
    parser.add_argument("event", type=Path)
    arguments = parser.parse_args()
    logical_id = arguments.function.title().replace("_", "").replace("-", "")
    if not (BUILD / logical_id).is_dir():
        known = ", ".join(sorted(path.parent.name for path in (ROOT / "functions").glob("*/app.py")))
        return refuse(f"no function {arguments.function}: there are {known}")
    if not arguments.event.is_file():
        return refuse(f"no event {arguments.event}")
    if not shutil.which("docker") or run_quietly("docker", "version") != 0:
        return refuse("no Docker engine answers: `sam local invoke` runs the function in a container", 1)
    if not os.environ.get("AWS_ENDPOINT_URL"):
        print("no AWS_ENDPOINT_URL: starting a local cloud for this run", file=sys.stderr)
        tallyman = ROOT / ".venv/bin/tallyman"
        return subprocess.run(
            [tallyman, "local", "exec", "--", sys.executable, "-m", "tools.invoke", "--prepare", *sys.argv[1:]],
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode
    if arguments.prepare:
        invoke_cloud.prepare(os.environ["AWS_ENDPOINT_URL"], arguments.function)
    return invoke(arguments.function, logical_id, arguments.event, arguments.architecture)


def invoke(function: str, logical_id: str, event: Path, architecture: str) -> int:
    variables = deployed_environment(f"{STACK}-{function.replace('_', '-')}")
    variables["AWS_ENDPOINT_URL"] = os.environ["AWS_ENDPOINT_URL"]
    policy = Path(os.environ.get("TALLYMAN_POLICY") or variables["TALLYMAN_POLICY"])
    if policy.is_file():  # of this machine: a container has the policy only as its policy layer
        variables["TALLYMAN_POLICY"] = "/opt/tallyman.yaml"
    template = adapted(logical_id, variables, policy)
    command = [
        str(ROOT / ".venv-sam/bin/python"),
        str(ROOT / "tests/tools/sam_on_host_network.py"),
        *("local", "invoke", logical_id, "--template", str(template), "--event", str(event)),
        *("--region", os.environ["AWS_REGION"]),
        *("--parameter-overrides", f"Architecture={architecture}"),
    ]
    if run_quietly("docker", "image", "inspect", BASE_IMAGE.format(architecture=architecture)) == 0:
        command.append("--skip-pull-image")
    written = invoke_cloud.Written(variables)
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        # Variables in sam's own environment would win over the template; and its own session needs no endpoint.
        env={k: v for k, v in os.environ.items() if not k.startswith(("TALLYMAN_", "AWS_ENDPOINT_URL"))}
        | {"SAM_CLI_TELEMETRY": "0"},
    )
    written.tell()
    sys.stdout.write(done.stdout)
    if done.returncode:
        return done.returncode
    return judge(done.stdout, poisoned="poison" in event.name)


def judge(output: str, *, poisoned: bool) -> int:
    """0 or 1, by the function's answer: the last line of the output."""
    lines = output.strip().splitlines()
    try:
        answer: Any = json.loads(lines[-1]) if lines else None
    except json.JSONDecodeError:
        print(f"the function's answer is not JSON: {lines[-1]!r}", file=sys.stderr)
        return 1
    if isinstance(answer, dict) and "errorType" in answer:
        return 1
    failures = answer.get("batchItemFailures") if isinstance(answer, dict) else None
    if failures and not poisoned:
        print(f"{len(failures)} of the batch failed", file=sys.stderr)
        return 1
    return 0


def deployed_environment(name: str) -> dict[str, str]:
    """The environment of the deployed function of that name: the names and addresses of its stack."""
    import boto3  # imported here, so that a wrong argument is reported at once

    answer = boto3.client("lambda").get_function_configuration(FunctionName=name)
    return dict(answer["Environment"]["Variables"])


def adapted(logical_id: str, variables: dict[str, str], policy: Path) -> Path:
    """The built template with those variables in the function (`sam` passes only variables that a template names), and
    with the local cloud's policy, if it is a file, in the policy layer."""
    from tallyman_local.stack.template import load

    template = load(BUILD / "template.yaml")
    properties = template["Resources"][logical_id]["Properties"]
    properties.setdefault("Environment", {}).setdefault("Variables", {}).update(variables)
    if policy.is_file():
        folder = BUILD / "policy"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(policy, folder / "tallyman.yaml")
        template["Resources"]["PolicyLayer"]["Properties"]["ContentUri"] = folder.name
    path = BUILD / "invoke.json"
    path.write_text(json.dumps(template))
    return path


def run_quietly(*command: str) -> int:
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode


def refuse(why: str, status: int = 2) -> int:
    print(why, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
