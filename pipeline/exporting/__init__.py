"""A registered model as a file of another runtime, checked against the one that serves."""
