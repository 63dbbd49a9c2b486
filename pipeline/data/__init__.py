"""The raw scrape in data/: sightings, shards of bytes, people's annotations, and the lock on them."""
