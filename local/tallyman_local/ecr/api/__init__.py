"""ECR's JSON API."""
