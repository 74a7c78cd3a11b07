"""A check that invokes a function: created in the local cloud, invoked by the deployed verify_origin."""

import io
import json
import zipfile
from pathlib import Path

from support.images import builders as b
from support.stacks.deployed import deployed, one_promotion

NAME = "rocketseat/widget-server"
ARN = "arn:aws:lambda:us-east-2:111111111111:function:ticket"
CODE = """
import os

assert os.environ["AWS_CONFIG_FILE"] == os.devnull  # nothing of this machine's own AWS set-up reaches it

def handler(question, context):
    approved = question["tags"] == ["v1.1.0"] and question["to"] == "prod"
    return {"result": "passed" if approved else "failed", "because": question["digest"] + os.environ.get("WORD", "")}
"""


def test_the_answer_of_a_function_decides_the_check(tmp_path: Path) -> None:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("app.py", CODE)
    with deployed(tmp_path, one_promotion(check={"lambda": ARN}), parameters={"CheckFunctions": ARN}) as system:
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = system.client("iam").create_role(RoleName="ticket", AssumeRolePolicyDocument=document)["Role"]
        system.client("lambda").create_function(
            FunctionName="ticket",
            Runtime="python3.13",
            Role=role["Arn"],
            Handler="app.handler",
            Code={"ZipFile": code.getvalue()},
        )
        refused, approved = b.image("refused"), b.image("approved")
        system.push(refused, NAME, "v1.0.0")
        system.push(approved, NAME, "v1.1.0")
        assert system.digests_in(NAME, "v1.0.0") == [None, None]
        deciding = system.why(NAME, "v1.0.0").deciding
        assert deciding is not None
        assert deciding.reason == f"ticket failed, by the function ticket: {refused.digest}"
        assert system.digests_in(NAME, "v1.1.0") == [approved.digest] * 2
        for kind, status in (("Event", 202), ("DryRun", 204)):
            answer = system.client("lambda").invoke(FunctionName="ticket", InvocationType=kind)
            assert answer["StatusCode"] == status
        system.client("lambda").update_function_configuration(
            FunctionName="ticket", Environment={"Variables": {"WORD": "changed"}}
        )
        question = json.dumps({"tags": [], "to": "prod", "digest": "sha256:"})
        answer = system.client("lambda").invoke(FunctionName="ticket", Payload=question)
        assert json.load(answer["Payload"])["because"] == "sha256:changed"
