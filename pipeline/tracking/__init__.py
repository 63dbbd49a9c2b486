"""Run records, MLflow, the registry."""
