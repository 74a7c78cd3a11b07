"""Loopback HTTP servers, and failures on purpose."""
