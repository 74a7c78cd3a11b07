"""Records commands of people: approve, freeze, recall and others. SQS's own SenderId says who sent one."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("record_command")
