"""Let moto release objects that it does not use any more.

For its dashboard, which the local cloud does not serve, moto keeps every instance of its models: deleted messages of
queues, replaced items, and for each transaction of DynamoDB a copy of each table's map of partitions. After 5,000
transactions those copies held 50 million references, and one run of the garbage collector took 1.8 s of processor time.
Only S3 needs its lists: it closes the files of its keys when the cloud ends.
"""

from typing import Any

from moto.core.common_models import BaseModel
from moto.s3.models import FakeKey, FakeMultipart

_LISTED = (FakeKey, FakeMultipart)


def _new(cls: type[BaseModel], *_arguments: Any, **_named: Any) -> BaseModel:
    """moto's BaseModel.__new__, but without keeping the instance, except S3's."""
    instance: BaseModel = super(BaseModel, cls).__new__(cls)
    if issubclass(cls, _LISTED):
        cls.instances_tracked.append(instance)
    return instance


BaseModel.__new__ = _new
