"""The untrusted world into `data/`."""
