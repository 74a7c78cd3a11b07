"""What services need of the world: narrow Protocols, implemented by adapters and by the tests' fakes.

Every method raises `tallyman.errors` only: TransientError for what may succeed later, Refused and BadInput for what
won't.
"""
