"""The `tallyman` command."""
