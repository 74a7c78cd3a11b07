"""What several rooms of services use."""
