"""Deployed stacks, and templates as data."""
