"""Builders of images, facts and events."""
