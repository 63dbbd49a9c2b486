"""URLs -> data/: a fetcher for a hostile web, and the batch that its answers become."""
