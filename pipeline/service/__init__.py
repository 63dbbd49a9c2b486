"""The HTTP service around the model in production."""
