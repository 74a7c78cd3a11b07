"""The AWS endpoint: who asks, what is allowed, who answers."""
