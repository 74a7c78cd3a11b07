"""moto in this process: calls to it, and changes of what it does."""
