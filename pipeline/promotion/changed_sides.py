"""The test pictures that one version calls unsafe and another does not."""

import numpy as np
import pandas as pd

from pipeline.promotion.pairing import PairedAnswers

MOVED_COLUMNS = ("sha256", "label", "side", "said_before", "said_after", "unsafe_before", "unsafe_after")


def moved_pictures(both: PairedAnswers) -> pd.DataFrame:
    """Return rows of MOVED_COLUMNS: pictures that one model calls unsafe and the other does not.

    Newly missed unsafe pictures come first.
    """
    before, after, labels = both.arrays()
    members = np.array([name in both.unsafe for name in both.names])
    predicted = before.argmax(axis=1), after.argmax(axis=1)
    flagged = members[predicted[0]], members[predicted[1]]
    truth = members[labels]
    sides = np.select(
        [truth & flagged[0], truth & flagged[1], ~truth & flagged[1]],
        ["newly missed", "newly caught", "newly withheld"],
        default="newly let through",
    )
    frame = pd.DataFrame(
        {
            "sha256": both.frame["sha256"],
            "label": both.frame["label"],
            "side": sides,
            "said_before": [both.names[index] for index in predicted[0]],
            "said_after": [both.names[index] for index in predicted[1]],
            "unsafe_before": before[:, members].sum(axis=1).round(4),
            "unsafe_after": after[:, members].sum(axis=1).round(4),
        }
    )
    order = {"newly missed": 0, "newly withheld": 1, "newly caught": 2, "newly let through": 3}
    changed = frame[flagged[0] != flagged[1]]
    ordered: pd.DataFrame = changed.assign(order=changed["side"].map(order)).sort_values(["order", "sha256"])
    return ordered.drop(columns="order")
