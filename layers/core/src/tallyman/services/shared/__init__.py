"""Helpers that several rooms of services use."""
