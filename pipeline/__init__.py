"""A picture-moderation classifier that can be rebuilt, trusted and replaced."""
