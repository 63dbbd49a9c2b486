"""params.yaml as typed models: a module for each section, and the root that holds them."""
