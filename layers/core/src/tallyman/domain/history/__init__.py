"""Facts, and the history of tags that is folded from them."""
