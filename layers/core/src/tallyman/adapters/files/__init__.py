"""Files that people write: the policy, a table of prices."""
