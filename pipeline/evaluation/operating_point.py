"""What a threshold on the unsafe classes together achieves."""

from collections.abc import Collection, Sequence

import numpy as np

from pipeline.evaluation.recall import Floats, Integers


def unsafe_recall_at_precision(
    probabilities: Floats, labels: Integers, names: Sequence[str], unsafe: Collection[str], precision: float
) -> float:
    """Return the largest recall of unsafe pictures at a threshold whose precision is at least `precision` (0..1).

    `probabilities` (n, classes), `labels` (n) indices into `names`. A picture is withheld where the unsafe classes'
    probabilities add up to the threshold or more. 0.0 where no threshold is that precise, or nothing is unsafe.
    """
    from sklearn.metrics import precision_recall_curve

    members = np.array([name in unsafe for name in names])
    truth = members[labels]
    if not truth.any():
        return 0.0
    precisions, recalls, _ = precision_recall_curve(truth, probabilities[:, members].sum(axis=1))
    return float(recalls[precisions >= precision].max(initial=0.0))
