"""`tallyman letters`: reads, repeats and discards the stack's dead letters."""
