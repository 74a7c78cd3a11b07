"""Records what people ask for: approve, freeze, recall and the like. Who asks is SQS's own SenderId."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("record_command")
