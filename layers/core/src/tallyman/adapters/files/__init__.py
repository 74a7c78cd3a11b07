"""Read files that people write: the policy, trust roots, a table of prices."""
