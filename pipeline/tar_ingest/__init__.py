"""Archives that others made, WebDataset's and img2dataset's -> data/: a row for every sample."""
