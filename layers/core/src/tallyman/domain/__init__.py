"""What is decided, and the words it is decided in: values and pure functions; standard library only, no clock, no I/O."""
