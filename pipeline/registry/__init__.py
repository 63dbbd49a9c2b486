"""The model registry: versions, evidence, the ledger of production, and verification."""
