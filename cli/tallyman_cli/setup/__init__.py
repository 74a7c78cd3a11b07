"""`tallyman init`, `tallyman policy`."""
