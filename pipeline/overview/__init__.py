"""What the last run made, and all that is known of one picture: for people."""
