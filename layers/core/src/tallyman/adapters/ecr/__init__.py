"""Amazon ECR: its JSON API and its registry."""
