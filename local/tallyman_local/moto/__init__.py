"""Calls into moto."""
