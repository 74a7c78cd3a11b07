"""Records what registries tell of images: pushes, removals, replications, and who made the call."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("record_push")
