"""Builds with Docker, real and scripted."""
