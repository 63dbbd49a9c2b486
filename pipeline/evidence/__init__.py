"""Everything that is known of a model on the test set, as one document."""
