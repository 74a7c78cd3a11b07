"""Loads the facts of an image and evaluates them against the policy."""
