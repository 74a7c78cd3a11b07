"""The state table: a module for each kind of item, with its key and its value class.

No other module builds a key of the table or reads an item's raw data. All items can be rebuilt from the ledger, or are
temporary (leases, positions).
"""
