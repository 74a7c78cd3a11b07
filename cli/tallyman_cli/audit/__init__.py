"""`tallyman audit`: finds what differs from the policy and from good practice."""
