"""Code that several commands use: the stack, names, options, output."""
