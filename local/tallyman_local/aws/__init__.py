"""The AWS endpoint: identify the caller, check permissions, pass the call to its service."""
