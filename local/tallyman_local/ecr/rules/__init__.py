"""ECR's rules, the same for the JSON API and `/v2/`."""
