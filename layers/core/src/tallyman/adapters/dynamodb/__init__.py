"""Ledger and state on DynamoDB."""
