"""`tallyman build`, `tallyman tag`: from a commit to a pushed image."""
