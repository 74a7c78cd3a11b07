"""`tallyman local`, `tallyman demo`: the local cloud."""
