"""The JSON API: replication, its backfills, and managed signing."""

from functools import cache
from typing import Any

from botocore.session import Session

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.model import moment

_RULES, _DESTINATIONS, _FILTERS, _BACKFILLS = 10, 25, 100, 10


@cache
def _regions(region: str) -> frozenset[str]:
    """The regions in the partition of a region, by botocore's list: replication does not leave a partition."""
    session = Session()
    for partition in session.get_available_partitions():
        regions = frozenset(session.get_available_regions("ecr", partition))
        if region in regions:
            return regions
    return frozenset(session.get_available_regions("ecr"))


@serves("DescribeRegistry")
def describe_registry(call: Call) -> Answer:
    rules = call.parts.replication.rules(call.registry)
    return {"registryId": call.registry.account, "replicationConfiguration": {"rules": rules}}


@serves("PutReplicationConfiguration", recorded=True)
def put_replication_configuration(call: Call) -> Answer:
    where, configuration = "replicationConfiguration", call.parameters["replicationConfiguration"]
    rules = configuration["rules"]
    if len(rules) > _RULES:
        raise errors.invalid(where, f"Member must have at most {_RULES} rules")
    destinations = [EcrRegistry(to["registryId"], to["region"]) for rule in rules for to in rule["destinations"]]
    unknown = sorted({to.region for to in destinations} - _regions(call.registry.region))
    if unknown:
        raise errors.invalid(where, f"images of {call.registry.region} can't be replicated to '{unknown[0]}'")
    if len(set(destinations)) > _DESTINATIONS:
        raise errors.invalid(where, f"Member must have at most {_DESTINATIONS} unique destinations")
    if any(len(rule.get("repositoryFilters", [])) > _FILTERS for rule in rules):
        raise errors.invalid(where, f"Member must have at most {_FILTERS} filters in a rule")
    if any(not rule["destinations"] for rule in rules):
        raise errors.invalid(where, "a rule must have at least one destination")
    if call.registry in destinations:
        raise errors.invalid(where, "Replication destination cannot be the same as the source registry")
    call.settings.put(call.registry, "replication", configuration, call.now)
    return {"replicationConfiguration": configuration}


@serves("DescribeImageReplicationStatus")
def describe_image_replication_status(call: Call) -> Answer:
    row, image, image_id = call.image()
    statuses = call.parts.replication.statuses(row, image.digest)
    return {"repositoryName": row.name.name, "imageId": image_id, "replicationStatuses": statuses}


# -- backfills


def _backfill(value: dict[str, Any], *keys: str) -> Answer:
    times: Answer = {key: moment(value[key]) for key in ("startedAt", "endedAt") if key in value and key in keys}
    return {**{key: value[key] for key in keys if key in value}, **times}


_SUMMARY = ("replicationBackfillId", "destination", "status", "startedAt")


@serves("StartReplicationBackfill", recorded=True)
def start_replication_backfill(call: Call) -> Answer:
    given = call.parameters["destination"]
    to = EcrRegistry(given["registryId"], given["region"])
    listed = [EcrRegistry(d["registryId"], d["region"]) for r in call.parts.replication.rules(call.registry)
              for d in r["destinations"]]  # fmt: skip
    if to not in listed:
        raise errors.invalid("destination", "must be in the registry's replication configuration")
    if sum(b["status"] == "IN_PROGRESS" for b in call.parts.backfills.all(call.registry)) >= _BACKFILLS:
        raise EcrError("LimitExceededException", f"At most {_BACKFILLS} replication backfills may be in progress")
    value = call.parts.backfills.start(call.registry, to)
    return {"registryId": call.registry.account, **_backfill(value, *_SUMMARY)}


@serves("StopReplicationBackfill", recorded=True)
def stop_replication_backfill(call: Call) -> Answer:
    value = call.parts.backfills.stop(call.registry, call.parameters["replicationBackfillId"])
    return {"registryId": call.registry.account, **_backfill(value, *_SUMMARY)}


@serves("ListReplicationBackfills")
def list_replication_backfills(call: Call) -> Answer:
    listed = sorted(call.parts.backfills.all(call.registry), key=_order)
    page, token = call.page(listed, _order, default=50)
    keys = (*_SUMMARY, "progress", "endedAt", "failureCode")
    backfills = [_backfill(value, *keys) for value in page]
    return {"registryId": call.registry.account, "backfills": backfills, "nextToken": token}


def _order(value: dict[str, Any]) -> tuple[float, str]:
    return float(value["startedAt"]), str(value["replicationBackfillId"])


@serves("DescribeReplicationBackfillResults")
def describe_replication_backfill_results(call: Call) -> Answer:
    value = call.parts.backfills.get(call.registry, call.parameters["replicationBackfillId"])
    wanted = call.parameters.get("resultStatusFilter")
    results = [(n, r) for n, r in enumerate(value["results"]) if wanted in (None, r["status"])]
    ended = value["status"] not in ("IN_PROGRESS", "STOPPING")  # by the model there are results only at the end
    page, token = call.page(results if ended else [], lambda pair: pair[0])
    shaped = _backfill(value, *_SUMMARY, "progress", "endedAt", "failureCode")
    return {"registryId": call.registry.account, **shaped, "results": [r for _, r in page], "nextToken": token}


# -- managed signing


@serves("PutSigningConfiguration", recorded=True)
def put_signing_configuration(call: Call) -> Answer:
    configuration = call.parameters["signingConfiguration"]
    call.settings.put(call.registry, "signing", configuration, call.now)
    return {"signingConfiguration": configuration}


@serves("GetSigningConfiguration")
def get_signing_configuration(call: Call) -> Answer:
    if (found := call.settings.get(call.registry, "signing")) is None:
        raise errors.not_in_registry("SigningConfigurationNotFoundException", "Signing configuration", call.registry)
    return {"registryId": call.registry.account, "signingConfiguration": found.value}


@serves("DeleteSigningConfiguration", recorded=True)
def delete_signing_configuration(call: Call) -> Answer:
    answer = get_signing_configuration(call)
    call.settings.delete(call.registry, "signing")
    return answer


@serves("DescribeImageSigningStatus")
def describe_image_signing_status(call: Call) -> Answer:
    row, image, image_id = call.image()
    statuses = call.parts.signing.statuses(row, image.digest)
    return call.of_repository(imageId=image_id, signingStatuses=statuses)
