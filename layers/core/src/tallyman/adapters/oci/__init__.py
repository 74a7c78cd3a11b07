"""OCI: the registry client, other registries than ECR, and layouts in folders."""
