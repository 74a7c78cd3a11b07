"""Brings an image into every registry of an environment, if all gates pass."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("promote_image")
