"""Compares the registries with the ledger on a schedule, and takes up what waits."""

from tallyman.runtime import scheduled_handler

handler = scheduled_handler()
