"""`tallyman init`, `policy` and `completion`, and the checks before a deployment."""
