"""Tallyman: the clerk of a container registry. It records every push, checks it, and lets through what may pass."""

__version__ = "0.1.0"
