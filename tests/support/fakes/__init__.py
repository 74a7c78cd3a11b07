"""Fakes of the ports, and services wired with them."""
