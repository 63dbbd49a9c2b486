"""Find labels that are likely wrong: out-of-fold predictions from the embeddings, ranked by cleanlab.

Reads   build/embeddings/{train,val,test}.npz, build/splits.parquet, data/decisions.csv
Writes  reports/label_issues.csv, metrics/audit.json
Run     dvc repro audit
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.data import annotation_files
from pipeline.evaluation.label_issues import out_of_fold, rank_label_issues, weak_model_warning
from pipeline.evaluation.undecided import without_decided
from pipeline.params.root import Params, load_params
from pipeline.training.embeddings import Embeddings

_log = logging.getLogger(__name__)


def issues(features: np.ndarray, splits: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return `sha256, label, suggested, score, rank` of every contradicted label, the likeliest wrong one first.

    Args:
        features: (views, n, d), a row for each of `splits` in every view.
        splits: `sha256, label, cluster`; a model is never fitted on the cluster that it judges.
        params: labels, audit, seed.

    """
    names = params.labels.names
    labels = splits["label"].map(names.index).to_numpy()
    probabilities = out_of_fold(
        features,
        labels,
        splits["cluster"].to_numpy(),
        classes=len(names),
        folds=params.audit.folds,
        seed=params.seed,
    )
    ranked = rank_label_issues(labels, probabilities)
    rows = splits.iloc[ranked["index"]]
    return pd.DataFrame(
        {
            "sha256": rows["sha256"].to_numpy(),
            "label": rows["label"].to_numpy(),
            "suggested": [names[index] for index in ranked["suggested"]],
            "score": ranked["score"].round(6).to_numpy(),
            "rank": ranked["rank"].to_numpy(),
        }
    )


def summarize(contradicted: pd.DataFrame, most: int, pictures: int, names: Sequence[str]) -> dict[str, object]:
    """Return counts of pictures, of contradicted labels, and of the listed ones by label and by pair of labels."""
    listed = contradicted.head(most)
    by_pair = (listed["label"] + " -> " + listed["suggested"]).value_counts().sort_index().to_dict()
    by_label = listed["label"].value_counts().reindex(list(names), fill_value=0)
    return {
        "pictures": pictures,
        "contradicted": len(contradicted),
        "suspicious": len(listed),
        "by_label": by_label.to_dict(),
        "by_pair": by_pair,
    }


def main() -> None:
    """Audit the labels."""
    params = load_params()
    embeddings = [Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in ("train", "val", "test")]
    order = pd.Index(np.concatenate([part.sha256 for part in embeddings]), name="sha256")
    splits = tables.read_parquet(paths.SPLITS).set_index("sha256").loc[order].reset_index()
    views = np.concatenate([part.features[: 1 + params.audit.views] for part in embeddings], axis=1)
    decided = annotation_files.decisions(paths.DECISIONS, params.labels.names)["sha256"]
    contradicted = without_decided(issues(views, splits, params), set(decided))
    listed = params.audit.max_rows
    tables.write_csv(contradicted.head(listed), paths.LABEL_ISSUES)
    counts = summarize(contradicted, listed, len(splits), params.labels.names)
    files.write_json(counts, paths.METRICS / "audit.json")
    _log.info(
        "audit: %d of %d labels look wrong, the likeliest first in %s",
        len(contradicted),
        len(splits),
        paths.LABEL_ISSUES,
    )
    if weakness := weak_model_warning(len(contradicted), len(splits)):
        _log.warning("audit: %s", weakness)
