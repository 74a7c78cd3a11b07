"""Translate errors of AWS, botocore and HTTP into Tallyman's."""
