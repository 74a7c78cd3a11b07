"""Foreign errors, translated into ours."""
