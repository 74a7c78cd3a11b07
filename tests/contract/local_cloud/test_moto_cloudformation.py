"""moto's CloudFormation resolves our templates as AWS's does."""

from typing import Any

from tallyman_local.moto.cloudformation import clean_json


def test_no_value_is_left_out_of_lists_and_objects() -> None:
    absent = {"Ref": "AWS::NoValue"}
    known: Any = {"AWS::NoValue": None}
    statements = [{"Sid": "one", "Resource": absent}, absent, {"Sid": "two", "Action": ["a", absent]}]
    assert clean_json({"Statement": statements}, known) == {
        "Statement": [{"Sid": "one"}, {"Sid": "two", "Action": ["a"]}]
    }
