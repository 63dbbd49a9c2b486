"""Find labels that are likely wrong: out-of-fold predictions from the embeddings, ranked by cleanlab.

Reads   build/embeddings/{train,val,test}.npz, build/splits.parquet
Writes  reports/label_issues.csv, metrics/audit.json
Run     dvc repro audit
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline import files, paths, tables
from pipeline.evaluation.label_issues import out_of_fold, rank_label_issues
from pipeline.model.embeddings import Embeddings
from pipeline.params import Params, load_params


def issues(features: np.ndarray, splits: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return `sha256, label, suggested, score, rank`, the likeliest wrong label first.

    Args:
        features: (views, n, d), a row for each of `splits` in every view.
        splits: `sha256, label, cluster`; a cluster is never both fitted and judged.
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
    ranked = rank_label_issues(labels, probabilities).head(params.audit.max_rows)
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


def summarize(found: pd.DataFrame, pictures: int, names: Sequence[str]) -> dict[str, object]:
    """Return counts: pictures looked at, suspicious labels, and these by (label -> suggested) pair."""
    by_pair = (found["label"] + " -> " + found["suggested"]).value_counts().sort_index().to_dict()
    by_label = found["label"].value_counts().reindex(list(names), fill_value=0)
    return {"pictures": pictures, "suspicious": len(found), "by_label": by_label.to_dict(), "by_pair": by_pair}


def main() -> None:
    """Audit the labels."""
    params = load_params()
    embeddings = [Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in ("train", "val", "test")]
    order = pd.Index(np.concatenate([part.sha256 for part in embeddings]), name="sha256")
    splits = tables.read_parquet(paths.SPLITS).set_index("sha256").loc[order].reset_index()
    views = np.concatenate([part.features[: 1 + params.audit.views] for part in embeddings], axis=1)
    found = issues(views, splits, params)
    tables.write_csv(found, paths.LABEL_ISSUES)
    files.write_json(summarize(found, len(splits), params.labels.names), paths.METRICS / "audit.json")
