"""`tallyman event`: the payloads that functions get."""
