"""Facts, and the history of tags that is computed from them."""
