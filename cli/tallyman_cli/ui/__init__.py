"""The page: what the views tell, as HTML on localhost, read-only unless changes are allowed."""
