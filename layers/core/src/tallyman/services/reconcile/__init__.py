"""Reconciliation: compares registries with the ledger, and retries what waits."""
