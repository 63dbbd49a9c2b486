"""Models that others made: each format is inspected before anything is loaded from it."""
