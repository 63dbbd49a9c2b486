"""Scores of any number of pictures, written to one table."""
