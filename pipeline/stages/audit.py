"""Find labels that are likely wrong, from predictions of models that did not see the picture; ranked by cleanlab.

Reads   build/embeddings/{train,val,test}/, build/splits.parquet, data/decisions.csv, data/sightings/*.parquet;
        build/cross_fit.parquet, where whole trainings judge
Writes  reports/label_issues.csv (the likely wrong ones), reports/label_noise.csv (how many are, by label and source),
        build/label_quality.parquet (every label's support), metrics/audit.json
Run     dvc repro audit

Pictures that people have decided about are not proposed again; docs/audit.md tells how the judges were chosen.
"""

import logging

import numpy as np
import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.errors import UserError
from pipeline.data import annotation_files
from pipeline.data import sightings as seen
from pipeline.evaluation import label_quality, label_tables
from pipeline.evaluation.label_issues import out_of_fold, weak_model_warning
from pipeline.evaluation.undecided import without_decided
from pipeline.params.root import Params, load_params
from pipeline.training.embeddings import Embeddings

SPLITS = ("train", "val", "test")
_log = logging.getLogger(__name__)


def judge(embeddings: Embeddings, clusters: np.ndarray, params: Params) -> np.ndarray:
    """Return each picture's class probabilities, shape (n, classes), from the judge that params name.

    Raises:
        UserError: there are fewer clusters than folds, or `cross_fit` has judged other pictures.

    """
    audit, names = params.audit, params.labels.names
    if audit.judge == "features":
        return out_of_fold(
            embeddings,
            embeddings.label,
            clusters,
            classes=len(names),
            folds=audit.folds,
            seed=params.seed,
            views=min(embeddings.views, 1 + audit.views),
        )
    judged = tables.read_parquet(paths.CROSS_FIT)
    if judged["sha256"].tolist() != embeddings.sha256.tolist():
        raise UserError(f"{paths.CROSS_FIT} is of other pictures than {paths.EMBEDDINGS}. Run `dvc repro audit`.")
    return judged[[f"p_{name}" for name in names]].to_numpy()


def main() -> None:
    """Audit the labels."""
    params = load_params()
    names, listed = params.labels.names, params.audit.max_rows
    embeddings = Embeddings.join([Embeddings.load(paths.EMBEDDINGS / split) for split in SPLITS])
    sources = seen.load(paths.SIGHTINGS).drop_duplicates("sha256").set_index("sha256")["source"]
    splits = tables.read_parquet(paths.SPLITS).set_index("sha256").loc[list(embeddings.sha256)].reset_index()
    splits = splits.assign(source=splits["sha256"].map(sources))
    # The tables decide, as people's decisions may have changed a label since the pictures were packed.
    labels = splits["label"].map(names.index).to_numpy()
    embeddings = embeddings.relabelled(labels)
    probabilities = judge(embeddings, splits["cluster"].to_numpy(), params)
    supported = label_tables.quality(splits, embeddings, labels, probabilities, names)
    decided = set(annotation_files.decisions(paths.DECISIONS, names)["sha256"])
    contradicted = without_decided(label_tables.issues(supported, labels, probabilities), decided)
    flagged = label_quality.flagged(labels, probabilities) & ~splits["sha256"].isin(decided).to_numpy()
    groups = [("all", pd.Series("all", index=splits.index)), *((by, splits[by]) for by in ("label", "source", "split"))]
    tables.write_parquet(supported, paths.LABEL_QUALITY)
    tables.write_csv(contradicted.head(listed), paths.LABEL_ISSUES)
    tables.write_csv(label_quality.noise(groups, flagged, params.evaluate.confidence), paths.LABEL_NOISE)
    wrong = set(splits.loc[flagged, "sha256"])
    files.write_json(
        label_tables.summarize(contradicted, wrong, listed, len(splits), names), paths.METRICS / "audit.json"
    )
    _log.info(
        "audit: %d of %d labels look wrong, the likeliest first in %s",
        len(contradicted),
        len(splits),
        paths.LABEL_ISSUES,
    )
    if weakness := weak_model_warning(len(contradicted), len(splits)):
        _log.warning("audit: %s", weakness)
