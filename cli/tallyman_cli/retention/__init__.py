"""`tallyman retention`."""
