"""Verifies a pushed image by its bytes."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("verify_digest")
