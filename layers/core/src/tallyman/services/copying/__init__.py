"""Copies images between registries: bytes first, tags last."""
