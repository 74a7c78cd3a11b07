"""Functions in worker processes."""
