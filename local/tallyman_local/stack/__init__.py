"""The SAM template, translated and deployed."""
