"""Removal of pictures for good, with a report of the models trained on them."""
