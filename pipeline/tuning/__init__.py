"""The search: Optuna finds dropout, L2, unfreeze point and learning-rate schedule."""
