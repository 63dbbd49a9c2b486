"""Find labels that are likely wrong, from predictions of models that did not see the picture; ranked by cleanlab.

Reads   build/embeddings/{train,val,test}.npz, build/splits.parquet, data/decisions.csv, data/sightings/*.parquet;
        build/cross_fit.parquet, where whole trainings judge
Writes  reports/label_issues.csv (the likely wrong ones), reports/label_noise.csv (how many are, by label and source),
        build/label_quality.parquet (every label's support), metrics/audit.json
Run     dvc repro audit

Pictures that people have decided about are not proposed again; docs/audit.md tells how the judges were chosen.
"""

import logging
from collections.abc import Sequence

import numpy as np
import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files
from pipeline.data import sightings as seen
from pipeline.evaluation import label_quality
from pipeline.evaluation.label_issues import out_of_fold, rank_label_issues, weak_model_warning
from pipeline.evaluation.undecided import without_decided
from pipeline.params.root import Params, load_params
from pipeline.training.embeddings import Embeddings

SPLITS = ("train", "val", "test")
ISSUES = [
    "sha256",
    "label",
    "suggested",
    "score",
    "rank",
    "pair_rank",
    "kind",
    "split",
    "cluster",
    "source",
    "agreement",
]

_log = logging.getLogger(__name__)


def judge(embeddings: Embeddings, clusters: np.ndarray, params: Params) -> np.ndarray:
    """Return each picture's class probabilities, shape (n, classes), from the judge that params name.

    Raises:
        UserError: there are fewer clusters than folds, or `cross_fit` has judged other pictures.

    """
    audit, names = params.audit, params.labels.names
    if audit.judge == "features":
        views = embeddings.features[: 1 + audit.views]
        return out_of_fold(views, embeddings.label, clusters, classes=len(names), folds=audit.folds, seed=params.seed)
    judged = tables.read_parquet(paths.CROSS_FIT)
    if judged["sha256"].tolist() != embeddings.sha256.tolist():
        raise UserError(f"{paths.CROSS_FIT} is of other pictures than {paths.EMBEDDINGS}. Run `dvc repro audit`.")
    return judged[[f"p_{name}" for name in names]].to_numpy()


def quality(
    pictures: pd.DataFrame, embeddings: Embeddings, probabilities: np.ndarray, names: Sequence[str]
) -> pd.DataFrame:
    """Return every label's support: the columns of `pictures`, `suggested, score, agreement, kind`, and `p_<class>`.

    Args:
        pictures: `sha256, label, split, cluster, source`, in the order of the embeddings.
        embeddings: Their features; view 0 is the clean picture.
        probabilities: Shape (n, classes).
        names: The classes.

    """
    labels = embeddings.label
    nearest, distance = label_quality.neighbours(embeddings.features[0], pictures["cluster"].to_numpy())
    return pictures[["sha256", "label", "split", "cluster", "source"]].assign(
        suggested=[names[index] for index in probabilities.argmax(axis=1)],
        score=probabilities[np.arange(len(labels)), labels].round(6),
        agreement=label_quality.agreement(nearest, labels).round(3),
        kind=label_quality.kinds(labels, probabilities, distance),
        **{f"p_{name}": probabilities[:, index].round(6) for index, name in enumerate(names)},
    )


def issues(supported: pd.DataFrame, labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Return the contradicted labels, the likeliest wrong one first: the columns ISSUES.

    `rank` counts over all, `pair_rank` within each pair of label and suggestion. `supported`: see `quality`.
    """
    ranked = rank_label_issues(labels, probabilities)
    rows = supported.iloc[ranked["index"]].reset_index(drop=True)
    rows = rows.assign(rank=ranked["rank"].to_numpy())
    return rows.assign(pair_rank=rows.groupby(["label", "suggested"]).cumcount() + 1)[list(ISSUES)]


def summarize(
    contradicted: pd.DataFrame, wrong: set[str], most: int, pictures: int, names: Sequence[str]
) -> dict[str, object]:
    """Return counts of pictures, of contradicted labels, and of the listed ones by label, pair, kind and split.

    `expected` of the first hundred and so on: how many of them are `wrong` (flagged by confident learning).
    """
    listed = contradicted.head(most)
    by_pair = (listed["label"] + " -> " + listed["suggested"]).value_counts().sort_index().to_dict()
    by_label = listed["label"].value_counts().reindex(list(names), fill_value=0)
    hundreds = range(0, len(listed), 100)
    return {
        "pictures": pictures,
        "contradicted": len(contradicted),
        "suspicious": len(listed),
        "estimated_wrong": len(wrong),
        "expected_by_hundred": [int(listed["sha256"].iloc[at : at + 100].isin(wrong).sum()) for at in hundreds],
        "by_label": by_label.to_dict(),
        "by_pair": by_pair,
        "by_kind": listed["kind"].value_counts().sort_index().to_dict(),
        "by_split": listed["split"].value_counts().sort_index().to_dict(),
    }


def main() -> None:
    """Audit the labels."""
    params = load_params()
    names, listed = params.labels.names, params.audit.max_rows
    embeddings = Embeddings.join([Embeddings.load(paths.EMBEDDINGS / f"{split}.npz") for split in SPLITS])
    sources = seen.load(paths.SIGHTINGS).drop_duplicates("sha256").set_index("sha256")["source"]
    splits = tables.read_parquet(paths.SPLITS).set_index("sha256").loc[list(embeddings.sha256)].reset_index()
    splits = splits.assign(source=splits["sha256"].map(sources))
    # The tables decide, as people's decisions may have changed a label since the pictures were packed.
    labels = splits["label"].map(names.index).to_numpy()
    embeddings = Embeddings(embeddings.features, embeddings.sha256, labels)
    probabilities = judge(embeddings, splits["cluster"].to_numpy(), params)
    supported = quality(splits, embeddings, probabilities, names)
    decided = set(annotation_files.decisions(paths.DECISIONS, names)["sha256"])
    contradicted = without_decided(issues(supported, labels, probabilities), decided)
    flagged = label_quality.flagged(labels, probabilities) & ~splits["sha256"].isin(decided).to_numpy()
    groups = [("all", pd.Series("all", index=splits.index)), *((by, splits[by]) for by in ("label", "source", "split"))]
    tables.write_parquet(supported, paths.LABEL_QUALITY)
    tables.write_csv(contradicted.head(listed), paths.LABEL_ISSUES)
    tables.write_csv(label_quality.noise(groups, flagged, params.evaluate.confidence), paths.LABEL_NOISE)
    wrong = set(splits.loc[flagged, "sha256"])
    files.write_json(summarize(contradicted, wrong, listed, len(splits), names), paths.METRICS / "audit.json")
    _log.info(
        "audit: %d of %d labels look wrong, the likeliest first in %s",
        len(contradicted),
        len(splits),
        paths.LABEL_ISSUES,
    )
    if weakness := weak_model_warning(len(contradicted), len(splits)):
        _log.warning("audit: %s", weakness)
