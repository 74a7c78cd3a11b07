"""Registries and layouts that are not ECR."""
