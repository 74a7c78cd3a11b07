"""The details of facts: a value class for each kind, or for several kinds with the same details. `parse` reads it from
a fact, `dump` writes it into one. No other module reads or builds the detail of a fact.
"""
