"""Tallyman records every push to Amazon ECR, verifies it, and promotes what the policy allows."""

__version__ = "0.1.0"
