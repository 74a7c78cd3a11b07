"""`tallyman retention`: plans, carries out, proves and replays removals."""
