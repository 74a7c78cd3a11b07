"""`tallyman doctor`: checks a deployed stack."""
