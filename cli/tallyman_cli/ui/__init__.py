"""The page: the views, as HTML on localhost, read-only unless changes are allowed."""
