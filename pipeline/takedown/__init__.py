"""Taking pictures down for good: from data/, and an account of what learned from them."""
