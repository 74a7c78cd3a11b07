"""The questions that docs/aws.md lists "to confirm", word for word; a run answers each, or says why it can't."""

CHILDREN = "one PUSH event for each child of a multi-arch push, and one for the index"
EXPIRED = "DELETE events when a lifecycle policy expires images (CloudTrail has `PolicyExecutionEvent`)"
AGAIN = "an event when the very same image is pushed again"
TOKEN = "401 or 403 for an expired registry token (on either it is renewed once)"
CATALOG = "what `_catalog` answers (nothing here calls it)"
UNSIGNED = "what happens to a push whose pusher may not sign (the local cloud refuses it)"
QUEUES = "whether a queue policy of several queues may name `*` as its resource, as AWS's example does"
ENTRIES = "whether `events:source` restricts a role's PutEvents entry by entry (ours sends one at a time)"
TEMPLATES = "the templates in CloudFormation itself"
STACKSETS = "StackSets"
CONNECTIONS = "both kinds of connection"
BATCH = "a CodeBuild batch (tests run `buildspec.yml` by the documented rules)"
BREAKER = "ECS's circuit breaker with a service of yours"
CODE = "how long `lambda:UpdateFunctionCode` takes for an image"
RIGHTS = (
    "that `roll_out` needs no permissions beyond those in [promotion.md](promotion.md#rollout) (AWS's page lists "
    "`ecr:SetRepositoryPolicy` too)"
)
QUOTAS = "quotas of a new account"
MAILS = "the mails of SNS"

QUESTIONS = (
    CHILDREN, EXPIRED, AGAIN, TOKEN, CATALOG, UNSIGNED, QUEUES, ENTRIES, TEMPLATES, STACKSETS, CONNECTIONS, BATCH,
    BREAKER, CODE, RIGHTS, QUOTAS, MAILS,
)  # fmt: skip

OPEN = {
    EXPIRED: "not tried: ECR runs a lifecycle policy within a day, not within minutes",
    UNSIGNED: "not tried: name a signing profile with --signing-profile (one that a run made could never be removed)",
    STACKSETS: "not tried: they need an organization",
    CONNECTIONS: "not tried: somebody has to complete a connection in the console",
    BATCH: "not tried: it needs a connection",
    BREAKER: "not tried: it needs a service of yours",
    MAILS: "not tried: a run has no address",
}
"""Answers where a run can see nothing; one that it saw takes their place."""

UNANSWERED = "no answer: its step did not come to that"
