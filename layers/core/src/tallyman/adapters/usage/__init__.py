"""What runs images, and what refers to them."""
