"""What the tables promise, held against them by Great Expectations."""
