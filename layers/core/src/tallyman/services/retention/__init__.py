"""Retention: inventory, plan, marks, removal."""
