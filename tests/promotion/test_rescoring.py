import numpy as np
import pandas as pd

from pipeline.evidence import scoring
from pipeline.images.resize import Resize
from pipeline.promotion import rescoring
from pipeline.registry.evidence_store import Evidence
from tests.support import evidence_documents
from tests.support.versions import NAMES, predictions

CROP = Resize("crop")


def evidence(version: int, sha256: str, frame: pd.DataFrame) -> Evidence:
    document = evidence_documents.evidence(labels=list(NAMES), unsafe=["porn"])
    return Evidence(version, sha256 * 64, "a" * 64, document, {}, frame)


def test_two_versions_of_one_file_have_their_own_answers(project, params, monkeypatch):
    """The same file, imported twice with other options, answers otherwise."""
    about = predictions(each=3)
    unseen = about.head(0)
    calls = []

    def answers(score, size, splits, params, names, resize):
        calls.append((names, resize))
        return about.assign(p_porn=float(len(calls)))

    monkeypatch.setattr(rescoring, "_here", lambda test: True)
    spec = {"size": 32, "labels": NAMES}
    monkeypatch.setattr(rescoring, "registered_network", lambda rescored, params: (None, spec, CROP))
    monkeypatch.setattr(scoring, "predictions_from_shards", answers)
    rescore = rescoring.rescorer(params)
    first, second, again = (
        rescore(evidence(version, sha256, unseen), evidence(3, "c", about))
        for version, sha256 in ((1, "d"), (2, "e"), (1, "d"))
    )
    rescore(evidence(4, "d", unseen), evidence(3, "c", about))  # of equal evidence on other pictures
    assert np.unique(first["p_porn"]) == 1.0
    assert np.unique(second["p_porn"]) == 2.0
    pd.testing.assert_frame_equal(again, first)
    assert calls == [(NAMES, CROP)] * 3
