"""What people look at, as plain JSON data: `--json`, tables and pages call the same functions. Nothing here writes,
prints or knows HTTP."""
