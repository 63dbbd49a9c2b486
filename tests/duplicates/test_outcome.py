"""Every catalogued picture is in exactly one of the tables."""

import pandas as pd
import pytest

from pipeline.duplicates import outcome


def test_a_lost_picture_stops_the_run():
    catalog = pd.DataFrame({"sha256": ["a", "b"]})
    one, none = pd.DataFrame({"sha256": ["a"]}), pd.DataFrame({"sha256": []})
    copies = pd.DataFrame({"sha256": ["b"], "kind": ["near"]})
    outcome.check_nothing_lost(catalog, one, copies, none, none, set())
    with pytest.raises(AssertionError):
        outcome.check_nothing_lost(catalog, one, none.assign(kind=[]), none, none, set())
    with pytest.raises(AssertionError):
        outcome.check_nothing_lost(catalog, one, copies, none, one, set())
