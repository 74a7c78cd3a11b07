"""Repositories and images: history, show, verify, reconcile."""
