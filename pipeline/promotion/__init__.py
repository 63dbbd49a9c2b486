"""From challenger to production and back: evidence, gates, the ledger, and what people ask of them."""
