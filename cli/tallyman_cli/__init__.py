"""The `tallyman` command: reads the stack's tables and registries, and requests actions of the stack."""
