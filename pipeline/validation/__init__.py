"""The rules of the tables, checked with Great Expectations."""
