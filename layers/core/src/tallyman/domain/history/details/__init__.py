"""What facts of each kind say beyond their columns: a value class a kind (or a family of kinds that say the same), read
from a fact with `parse`, written into one with `dump`. Nobody else reads or builds the detail of a fact.
"""
