"""What people decided about single pictures, data/decisions.csv, and what the public reported, data/reports.csv.

Both are append-only; of a picture's decisions the last row wins, each report stays a regression case.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline import tables
from pipeline.errors import UserError

COLUMNS = ("sha256", "old_label", "new_label", "reviewer", "reason", "decided_at", "model_version")
REPORT_COLUMNS = ("sha256", "expected_label", "slice", "ticket", "reported_at")
DROP = "drop"


def load_decisions(path: Path, labels: Sequence[str]) -> pd.Series:
    """Return the label (or `drop`) that people decided on, by sha256.

    Raises:
        UserError: a row names neither a known label nor `drop`, or no sha256; the message names the row.

    """
    rows = tables.read_csv(path, COLUMNS)
    for line, (sha256, label) in enumerate(zip(rows["sha256"], rows["new_label"], strict=True), start=2):
        if len(sha256) != 64:
            raise UserError(f"{path}, line {line}: sha256 is {sha256!r}, not 64 hexadecimal digits. Correct the row.")
        if label not in (*labels, DROP):
            raise UserError(
                f"{path}, line {line}: new_label is {label!r}; allowed: {', '.join(labels)} or {DROP}. "
                "Append a row with the right one for this picture, or correct it."
            )
    return rows.drop_duplicates("sha256", keep="last").set_index("sha256")["new_label"]
