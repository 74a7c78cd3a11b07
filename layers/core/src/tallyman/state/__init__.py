"""The state table: a module for each kind of item, with its key, its value class, and its parser and writer.

No other module builds a key of the table or reads an item's raw data. All items can be rebuilt from the ledger, or are
temporary (leases, positions).
"""
