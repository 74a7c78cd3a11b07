"""The IAM actions that each AWS call in use needs, and the types of resources that they apply to.

A call's name is not always its permission. Adapters' `PERMISSIONS`, the templates' roles and the local cloud's check of
roles follow this table; tests compare it with AWS's Service Authorization Reference. The local cloud refuses a call
that is not in it.
"""

from typing import Literal, NamedTuple

When = Literal["", "enhanced scanning", "managed signing", "tags", "task roles", "customer key", "key of images"]
"""When a need applies; empty: always. Needs on keys are in separate policies (KeyPolicy, ImagesKeyPolicy)."""

REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html"
_ECR = "https://docs.aws.amazon.com/AmazonECR/latest/userguide/"
_KEY_ACTIONS = ("customer key", "key of images")


class Need(NamedTuple):
    """One action that a call needs. `resource`: its type in AWS's reference; empty: the action takes no resource.

    `keys`: the condition keys that our roles use to narrow it. `source`: the page that documents the need.
    """

    action: str
    resource: str
    when: When = ""
    keys: tuple[str, ...] = ()
    source: str = REFERENCE


def _own(service: str, resource: str, *calls: str) -> dict[str, tuple[Need, ...]]:
    """Calls that need only the action of their own name."""
    return {f"{service}:{call}": (Need(f"{service}:{call}", resource),) for call in calls}


_SCAN = Need("inspector2:ListFindings", "", "enhanced scanning", source=f"{_ECR}image-scanning-enhanced-iam.html")
_SIGN = Need("signer:SignPayload", "signing-profile", "managed signing", source=f"{_ECR}managed-signing.html")
_PASS = Need(
    "iam:PassRole",
    "role",
    "task roles",
    ("iam:PassedToService",),
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-iam-passrole.html",
)
_TAG_TASKS = Need(
    "ecs:TagResource",
    "task-definition",
    "tags",
    ("ecs:CreateAction",),
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/supported-iam-actions-tagging.html",
)
_LAMBDA_IMAGES = "https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#configuration-images-permissions"
_IMAGE_KEYS = tuple(
    Need(action, "key", "key of images", ("kms:ViaService",), f"{_ECR}encryption-at-rest.html")
    for action in ("kms:CreateGrant", "kms:DescribeKey", "kms:RetireGrant")
)
_DECRYPT, _GENERATE = (Need(f"kms:{name}", "key", "customer key") for name in ("Decrypt", "GenerateDataKey"))


CALLS: dict[str, tuple[Need, ...]] = {
    **_own("batch", "", "DescribeJobDefinitions"),
    **_own("cloudformation", "stack", "DescribeStacks"),
    **_own("cloudtrail", "", "DescribeTrails", "LookupEvents"),
    **_own("cloudtrail", "trail", "GetTrailStatus"),
    **_own("dynamodb", "table", "BatchGetItem", "DeleteItem", "DescribeTable", "GetItem", "PutItem", "Query", "Scan"),
    # IAM checks each item of a transaction as its own call; ours put and delete
    "dynamodb:TransactWriteItems": (Need("dynamodb:PutItem", "table"), Need("dynamodb:DeleteItem", "table")),
    **_own(
        "ecr",
        "repository",
        "BatchCheckLayerAvailability",
        "BatchDeleteImage",
        "BatchGetImage",
        "CompleteLayerUpload",
        "DescribeImageReplicationStatus",
        "DescribeImages",
        "DescribeImageSigningStatus",
        "DescribeRepositories",
        "GetDownloadUrlForLayer",
        "GetLifecyclePolicy",
        "GetRepositoryPolicy",
        "InitiateLayerUpload",
        "PutImageScanningConfiguration",
        "PutImageTagMutability",
        "SetRepositoryPolicy",
        "StartImageScan",
        "UpdateImageStorageClass",
        "UploadLayerPart",
    ),
    **_own("ecr", "", "DescribeRegistry", "GetAuthorizationToken"),
    "ecr:CreateRepository": (Need("ecr:CreateRepository", "repository"), *_IMAGE_KEYS),  # ours set no tags
    "ecr:DescribeImageScanFindings": (Need("ecr:DescribeImageScanFindings", "repository"), _SCAN),
    # there is no action of this name
    "ecr:ListImageReferrers": (Need("ecr:BatchGetImage", "repository", source=f"{_ECR}images-referrers.html"),),
    "ecr:PutImage": (Need("ecr:PutImage", "repository"), _SIGN),  # ECR signs with the permissions of the pusher
    **_own("ecs", "", "DescribeTaskDefinition", "ListClusters", "ListServices", "ListTasks"),
    **_own("ecs", "service", "DescribeServices", "UpdateService"),
    **_own("ecs", "service-revision", "DescribeServiceRevisions"),
    **_own("ecs", "task", "DescribeTasks"),
    "ecs:RegisterTaskDefinition": (Need("ecs:RegisterTaskDefinition", "task-definition"), _PASS, _TAG_TASKS),
    **_own("eks", "", "ListClusters"),
    **_own("eks", "cluster", "DescribeCluster"),
    **_own("events", "", "ListRules"),
    **_own("events", "event-bus", "DescribeEventBus"),
    **_own("events", "rule-on-default-event-bus", "DescribeRule"),
    "events:PutEvents": (Need("events:PutEvents", "event-bus", keys=("events:source", "events:detail-type")),),
    **_own("iam", "role", "GetRole"),
    **_own("iam", "user", "GetUser"),
    **_own("inspector2", "", "BatchGetAccountStatus", "ListCoverage", "ListFindings"),
    **_own("kms", "key", "GetPublicKey", "Sign"),
    **_own("lambda", "", "GetAccountSettings", "ListFunctions"),
    **_own("lambda", "function", "GetAlias", "GetFunction", "PublishVersion", "UpdateAlias"),
    "lambda:Invoke": (Need("lambda:InvokeFunction", "function"),),
    "lambda:UpdateFunctionCode": (
        Need("lambda:UpdateFunctionCode", "function"),
        *(
            Need(f"ecr:{name}", "repository", source=_LAMBDA_IMAGES)
            for name in ("BatchGetImage", "GetDownloadUrlForLayer", "GetRepositoryPolicy")
        ),
    ),
    **_own("s3", "bucket", "GetBucketLocation"),
    # without ListBucket, S3 answers 403 for an object that does not exist
    "s3:GetObject": (
        Need("s3:GetObject", "object"),
        Need(
            "s3:ListBucket",
            "bucket",
            source="https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html",
        ),
        _DECRYPT,
    ),
    "s3:ListObjectVersions": (Need("s3:ListBucketVersions", "bucket"),),
    "s3:PutObject": (Need("s3:PutObject", "object"), _GENERATE),
    "service-quotas:ListServiceQuotas": (Need("servicequotas:ListServiceQuotas", ""),),
    **_own("signer", "signing-profile", "GetRevocationStatus"),
    "sns:Publish": (Need("sns:Publish", "topic"), _GENERATE, _DECRYPT),
    **_own("sqs", "", "ListQueues"),
    **_own("sqs", "queue", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl"),
    "sqs:ChangeMessageVisibilityBatch": (Need("sqs:ChangeMessageVisibility", "queue"),),
    "sqs:ReceiveMessage": (Need("sqs:ReceiveMessage", "queue"), _DECRYPT),
    "sqs:SendMessage": (Need("sqs:SendMessage", "queue"), _GENERATE, _DECRYPT),
    **_own("sts", "role", "AssumeRole"),
    "sts:GetCallerIdentity": (),  # needs no permission
}


def permissions(*calls: str) -> tuple[str, ...]:
    """The actions that a role needs for these calls (`ecr:PutImage`), sorted; without those on customers' keys.

    Raises KeyError for a call that is not in the table.
    """
    return tuple(sorted({n.action for call in calls for n in CALLS[call] if n.when not in _KEY_ACTIONS}))
