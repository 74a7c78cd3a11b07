"""What several commands use: the stack, names, options, output."""
