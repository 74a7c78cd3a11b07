"""The registry, `/v2/`."""
