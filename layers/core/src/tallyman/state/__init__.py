"""The state table: one module a kind of item, with its key, a value class, and how that is read and written.

Nobody else builds a key of the table or reads an item's raw data. The ledger is the truth: what lies here can be
rebuilt from it, or is of the moment (leases, positions).
"""
