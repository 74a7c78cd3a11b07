"""ECR's rules, which the JSON API and `/v2/` share."""
