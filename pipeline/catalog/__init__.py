"""What is known of each content: measured in one decode."""
