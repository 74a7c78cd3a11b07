"""The JSON API: pull through cache rules. The local ECR refuses to create any, so that there are none."""

from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.errors import EcrError

#: Operations that the local ECR refuses, and why.
REFUSED = {"CreatePullThroughCacheRule": "The local ECR reaches no other registry, so it has no pull through cache"}


def _not_found(call: Call) -> EcrError:
    prefix = call.parameters.get("ecrRepositoryPrefix") or call.parameters["ecrRepositoryPrefixes"][0]
    what = f"The Pull Through Cache Rule with prefix '{prefix}'"
    return errors.not_in_registry("PullThroughCacheRuleNotFoundException", what, call.registry)


@serves("CreatePullThroughCacheRule")
def create_pull_through_cache_rule(call: Call) -> Answer:
    name = "CreatePullThroughCacheRule"
    text = f"{name} is not served by the local ECR: {REFUSED[name]}."
    raise EcrError("UnsupportedUpstreamRegistryException", text)


@serves("DescribePullThroughCacheRules")
def describe_pull_through_cache_rules(call: Call) -> Answer:
    if call.parameters.get("ecrRepositoryPrefixes"):
        raise _not_found(call)
    return {"pullThroughCacheRules": []}


@serves("DeletePullThroughCacheRule")
@serves("UpdatePullThroughCacheRule")
@serves("ValidatePullThroughCacheRule")
def change_pull_through_cache_rule(call: Call) -> Answer:
    raise _not_found(call)
