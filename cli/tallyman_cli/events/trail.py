"""What CloudTrail reports: who made the calls."""

import json

from tallyman.domain.images.manifest import OCI_INDEX
from tallyman_cli.events.parts import PUSHED, Json, Subject, event, uid


def calls(about: Subject) -> list[Json | str]:
    """The call of the push, with its actor, and that of a changed setting."""
    registry, name = about.registry, about.name
    manifest = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, separators=(",", ":"))
    put = _call(
        about,
        "PutImage",
        PUSHED,
        {
            "registryId": registry.account,
            "repositoryName": name,
            "imageTag": about.tag,
            "imageManifestMediaType": OCI_INDEX,
            "imageManifest": manifest,
        },
        {
            "image": {
                "registryId": registry.account,
                "repositoryName": name,
                "imageId": {"imageDigest": about.index, "imageTag": about.tag},
                "imageManifest": manifest,
                "imageManifestMediaType": OCI_INDEX,
            }
        },
    )
    mutable = {"repositoryName": name, "imageTagMutability": "MUTABLE"}
    answer = {"registryId": registry.account, **mutable}
    return [put, _call(about, "PutImageTagMutability", "2026-11-16T04:00:00Z", mutable, answer)]


def _call(about: Subject, name: str, time: str, request: Json, answer: Json) -> Json:
    """One API call, made by the role of a build."""
    registry = about.registry
    role = {
        "type": "Role",
        "principalId": "AROAEXAMPLEBUILDROLE1",
        "arn": f"arn:aws:iam::{registry.account}:role/build",
        "accountId": registry.account,
        "userName": "build",
    }
    detail = {
        "eventVersion": "1.10",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAEXAMPLEBUILDROLE1:build-42",
            "arn": f"arn:aws:sts::{registry.account}:assumed-role/build/build-42",
            "accountId": registry.account,
            "accessKeyId": "ASIAEXAMPLEEXAMPLE12",
            "sessionContext": {
                "sessionIssuer": role,
                "attributes": {"creationDate": "2026-11-16T01:50:00Z", "mfaAuthenticated": "false"},
            },
        },
        "eventTime": time,
        "eventSource": "ecr.amazonaws.com",
        "eventName": name,
        "awsRegion": registry.region,
        "sourceIPAddress": "192.0.2.10",
        "userAgent": "docker/28.0.1 go/go1.24.1",
        "requestParameters": request,
        "responseElements": answer,
        "requestID": uid(f"request {name}"),
        "eventID": uid(f"trail {name}"),
        "readOnly": False,
        "resources": [{"accountId": registry.account, "ARN": about.arn}],
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": registry.account,
        "eventCategory": "Management",
    }
    return event(about, name, "AWS API Call via CloudTrail", time, detail)
