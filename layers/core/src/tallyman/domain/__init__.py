"""What is decided, and the words it is decided in: values and pure functions.

Standard library only; no clock, no environment, no I/O.
"""
