"""Releases: the pointer of an environment, its changes, and the rollouts that follow."""
