"""Keeps moto from holding every object that it has ever made.

moto's dashboard, which is not served here, lists each instance of each model for good: deleted messages of queues,
replaced items, and for each transaction of DynamoDB a copy of each table's map of partitions. After 5,000 transactions
those copies held 50 million references, and one run of the garbage collector through them took 1.8 s of processor time.
S3 alone reads its lists: it closes the files of its keys when the cloud ends.
"""

from typing import Any

from moto.core.common_models import BaseModel
from moto.s3.models import FakeKey, FakeMultipart

_LISTED = (FakeKey, FakeMultipart)


def _new(cls: type[BaseModel], *_arguments: Any, **_named: Any) -> BaseModel:
    """moto's BaseModel.__new__, which lists every instance."""
    instance: BaseModel = super(BaseModel, cls).__new__(cls)
    if issubclass(cls, _LISTED):
        cls.instances_tracked.append(instance)
    return instance


BaseModel.__new__ = _new
