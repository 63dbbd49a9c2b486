"""One classifier for every door."""
