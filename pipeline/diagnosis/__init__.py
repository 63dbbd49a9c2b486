"""`nsfw doctor`: what a set-up needs, what is missing, and what to do about it."""
