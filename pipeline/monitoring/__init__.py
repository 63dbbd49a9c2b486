"""Compares scores of two times: what has changed in the traffic, and how good the model still is."""
