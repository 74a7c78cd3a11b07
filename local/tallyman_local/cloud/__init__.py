"""The local cloud put together, and its control API."""
