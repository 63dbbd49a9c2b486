"""The bundled sample: a benign scrape, drawn from numbers alone."""
