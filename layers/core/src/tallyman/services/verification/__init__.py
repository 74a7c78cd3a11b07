"""Verifies images by their bytes."""
