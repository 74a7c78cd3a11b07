"""The seal over the ledger: written by reconcile, proven by people."""
