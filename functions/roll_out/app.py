"""Moves ECS services and Lambda functions to the image of a release, by digest."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("roll_out")
