"""params.yaml, typed: one module a section, and the root that holds them."""
