"""Verifies the signatures of an image by the keys and identities of the policy."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("verify_origin")
