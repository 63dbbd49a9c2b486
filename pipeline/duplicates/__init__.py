"""Copies: from fingerprints to pairs, clusters, labels and a report."""
