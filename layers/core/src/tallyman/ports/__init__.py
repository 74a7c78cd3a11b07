"""Interfaces of the outside world that services use: narrow Protocols, implemented by adapters and by tests' fakes.

Every method raises errors of `tallyman.errors` only: TransientError where the same call may succeed later, Refused and
BadInput where it can't.
"""
