"""Brings an image into an environment: targets, intents, staging, tags; and rolls releases back."""
