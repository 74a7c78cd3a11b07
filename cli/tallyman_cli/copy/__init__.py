"""`tallyman copy`: images between any registries and layouts."""
