"""What a person has decided is proposed no more."""

import pandas as pd

from pipeline.evaluation.undecided import without_decided


def test_decided_pictures_leave_and_the_others_move_up():
    rows = pd.DataFrame({"sha256": ["a", "b", "c"], "score": [0.1, 0.2, 0.3], "rank": [1, 2, 3]})
    left = without_decided(rows, {"b", "unknown"})
    assert left.to_dict("list") == {"sha256": ["a", "c"], "score": [0.1, 0.3], "rank": [1, 2]}
    assert without_decided(rows, set()).equals(rows)
    assert without_decided(rows[["sha256"]], {"a"})["sha256"].tolist() == ["b", "c"]
    assert without_decided(rows, {"a", "b", "c"}).empty
