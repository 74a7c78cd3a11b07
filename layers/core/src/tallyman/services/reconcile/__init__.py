"""Reconciliation: compares registries with the ledger and takes up what waits."""
