"""The local ECR's registry, `/v2/`."""
