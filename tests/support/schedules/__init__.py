"""A seeded scheduler over the whole system: it owns time, delivery and every call of a port, and can replay a run."""
