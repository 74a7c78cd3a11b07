"""Records the findings of scans."""

from tallyman.runtime import sqs_handler

handler = sqs_handler("record_scan")
