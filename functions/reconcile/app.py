"""Compares the registries with the ledger on a schedule, and resumes pending work."""

from tallyman.runtime import scheduled_handler

handler = scheduled_handler()
