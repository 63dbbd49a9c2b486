"""Run records, and their publication to MLflow."""
