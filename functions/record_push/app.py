"""Records the events of registries: pushes, removals, replications, and who made the call."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("record_push")
