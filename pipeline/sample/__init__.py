"""The bundled sample: a scrape of benign pictures that are drawn from random numbers."""
