"""Removes images that the policy does not keep and nothing needs: marked first, removed later, with a proof."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("apply_retention")
