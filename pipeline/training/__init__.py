"""Training: packed pictures and embeddings to weights, resumable."""
