"""The local ECR's store on disk."""
