"""What YAML may name (distributions) and what it may compute (expressions)."""
