"""The classifier that batch scoring, HTTP and the registered model share."""
