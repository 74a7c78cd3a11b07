"""The `tallyman` command: asks the stack's tables and registries, and asks the stack to act."""
