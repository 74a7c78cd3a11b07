"""`tallyman letters`: the dead letters of the stack."""
