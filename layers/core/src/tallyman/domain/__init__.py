"""Values and pure functions: names, events, facts, the policy, gates, retention, and the decisions made from them.

Imports the standard library only; no clock, no environment, no I/O.
"""
