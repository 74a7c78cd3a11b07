"""A seeded scheduler for the entire system: it controls time, delivery and every call of a port, and can replay a
run."""
