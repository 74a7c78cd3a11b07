"""`tallyman copy`: copies images between registries and layouts of any kind."""
