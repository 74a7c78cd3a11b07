"""`tallyman doctor`: whether the stack is well."""
