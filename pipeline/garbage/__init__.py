"""Garbage: caches, published records, MLflow's artifacts and DVC's objects that nothing needs any more."""
