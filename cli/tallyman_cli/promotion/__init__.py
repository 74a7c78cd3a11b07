"""Promotions, approvals, freezes, recalls and releases."""
