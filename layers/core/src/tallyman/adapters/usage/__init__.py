"""Read which images run, and which are referred to by what could run them."""
