"""Recall, intervals, plots."""
