"""The JSON API: the registry's policy, scanning, account settings, and principals whose pulls are not recorded."""

from tallyman.domain.names import Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.api.repositories import check_policy
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.model import moment
from tallyman_local.ecr.store.settings import ACCOUNT_SETTINGS

_EXCLUSIONS = 100


# -- policy


@serves("PutRegistryPolicy", recorded=True)
def put_registry_policy(call: Call) -> Answer:
    text = call.parameters["policyText"]
    check_policy(text, "Invalid registry policy provided")
    call.settings.put(call.registry, "policy", text, call.now)
    return {"registryId": call.registry.account, "policyText": text}


@serves("GetRegistryPolicy")
def get_registry_policy(call: Call) -> Answer:
    if (text := call.settings.policy(call.registry)) is None:
        raise errors.not_in_registry("RegistryPolicyNotFoundException", "Registry policy", call.registry)
    return {"registryId": call.registry.account, "policyText": text}


@serves("DeleteRegistryPolicy", recorded=True)
def delete_registry_policy(call: Call) -> Answer:
    answer = get_registry_policy(call)
    call.settings.delete(call.registry, "policy")
    return answer


# -- account settings


def _setting(call: Call) -> str:
    name = call.parameters["name"]
    if name not in ACCOUNT_SETTINGS:
        raise errors.not_one_of("name", ACCOUNT_SETTINGS)
    return str(name)


@serves("PutAccountSetting", recorded=True)
def put_account_setting(call: Call) -> Answer:
    name, value = _setting(call), call.parameters["value"]
    choices = ACCOUNT_SETTINGS[name][0]
    if value not in choices:
        raise errors.not_one_of("value", choices)
    call.settings.put(call.registry, "account", value, call.now, name)
    return {"name": name, "value": value}


@serves("GetAccountSetting")
def get_account_setting(call: Call) -> Answer:
    name = _setting(call)
    return {"name": name, "value": call.settings.account(call.registry, name)}


# -- scanning


@serves("GetRegistryScanningConfiguration")
def get_registry_scanning_configuration(call: Call) -> Answer:
    configuration = call.settings.scanning(call.registry)
    return {"registryId": call.registry.account, "scanningConfiguration": configuration}


@serves("PutRegistryScanningConfiguration", recorded=True)
def put_registry_scanning_configuration(call: Call) -> Answer:
    configuration = {"scanType": call.parameters.get("scanType", "BASIC"), "rules": call.parameters.get("rules", [])}
    if configuration["scanType"] == "ENHANCED":
        text = "The scan type ENHANCED is not served by the local ECR: there is no Amazon Inspector here"
        raise EcrError("ValidationException", text)
    if any(rule["scanFrequency"] == "CONTINUOUS_SCAN" for rule in configuration["rules"]):
        raise errors.invalid("rules", "CONTINUOUS_SCAN is a scan frequency of the scan type ENHANCED only")
    call.settings.put(call.registry, "scanning", configuration, call.now)
    return {"registryScanningConfiguration": configuration}


@serves("BatchGetRepositoryScanningConfiguration")
def batch_get_repository_scanning_configuration(call: Call) -> Answer:
    found: list[Answer] = []
    failures: list[Answer] = []
    for name in call.parameters["repositoryNames"]:
        repository = Repository(call.registry, name)
        row = call.store.find(repository)
        if row is None:
            reason = errors.repository_not_found(repository).message
            failures.append({"repositoryName": name, "failureCode": "REPOSITORY_NOT_FOUND", "failureReason": reason})
            continue
        frequency, applied = call.settings.scan_frequency(row)
        found.append(
            {
                "repositoryArn": row.name.arn,
                "repositoryName": name,
                "scanOnPush": frequency == "SCAN_ON_PUSH",
                "scanFrequency": frequency,
                "appliedScanFilters": applied,
            }
        )
    return {"scanningConfigurations": found, "failures": failures}


# -- pulls that are not recorded


@serves("RegisterPullTimeUpdateExclusion", recorded=True)
def register_pull_time_update_exclusion(call: Call) -> Answer:
    arn = call.parameters["principalArn"]
    with call.store.db.transaction():
        listed = call.settings.all(call.registry, "exclusion")
        if any(found.name == arn for found in listed):
            text = f"An exclusion for the principal '{arn}' already exists"
            raise EcrError("ExclusionAlreadyExistsException", text)
        if len(listed) >= _EXCLUSIONS:
            raise EcrError("LimitExceededException", f"The limit of {_EXCLUSIONS} exclusions is reached")
        found = call.settings.put(call.registry, "exclusion", {}, call.now, arn)
    return {"principalArn": arn, "createdAt": moment(found.created)}


@serves("DeregisterPullTimeUpdateExclusion", recorded=True)
def deregister_pull_time_update_exclusion(call: Call) -> Answer:
    arn = call.parameters["principalArn"]
    if call.settings.get(call.registry, "exclusion", arn) is None:
        raise EcrError("ExclusionNotFoundException", f"An exclusion for the principal '{arn}' does not exist")
    call.settings.delete(call.registry, "exclusion", arn)
    return {"principalArn": arn}


@serves("ListPullTimeUpdateExclusions")
def list_pull_time_update_exclusions(call: Call) -> Answer:
    names = [found.name for found in call.settings.all(call.registry, "exclusion")]
    page, token = call.page(names, str)
    return {"pullTimeUpdateExclusions": page, "nextToken": token}
