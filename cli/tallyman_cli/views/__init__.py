"""What people look at, as plain JSON data: the same functions stand behind `--json`, tables and pages. Nothing here
writes, prints or knows of HTTP."""
