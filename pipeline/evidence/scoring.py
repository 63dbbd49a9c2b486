"""Predict pictures from their original bytes, at a model's own input size: plain, and distorted.

Pictures are decoded in sandbox workers, and predicted in small batches: memory does not grow with their number.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.decisions import UNSURE
from pipeline.core.errors import UserError
from pipeline.data.annotation_files import REGRESSION
from pipeline.data.shards import Member, members_of
from pipeline.evaluation import predictions as table
from pipeline.evaluation.label_match import LabelMatch, matched_summary
from pipeline.images import sandbox
from pipeline.images.distortions import DISTORTIONS
from pipeline.images.limits import Limits
from pipeline.images.rendering import PLAIN, Renderer, render_all
from pipeline.images.resize import SQUASH, Resize
from pipeline.model.traced import traced
from pipeline.params.root import Params

# uint8 pictures (n, size, size, 3), RGB, to probabilities (n, labels), the model's labels in order; n up to BATCH.
Score = Callable[[npt.NDArray[np.uint8]], npt.NDArray[Any]]

BATCH = 64


def keras_score(model: Any) -> Score:
    """Return a Keras classifier of 0..255 pixels as a `Score`; traced once for batches of every length."""
    predict = traced(model)

    def score(pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        return np.asarray(predict(pictures.astype(np.float32)))

    return score


def judged_splits() -> tuple[str, ...]:
    """Return the splits whose pictures evidence puts to a model: val, test, and unsure and reported pictures if any."""
    known = set(tables.read_parquet(paths.SPLITS, ["split"])["split"])
    return ("val", "test", *(name for name in (UNSURE, REGRESSION) if name in known))


def predictions_from_shards(
    score: Score,
    size: int,
    splits: Sequence[str],
    params: Params,
    names: Sequence[str] | None = None,
    resize: Resize = SQUASH,
) -> pd.DataFrame:
    """Return `sha256, split, label, p_<class>...` of these splits' pictures, from their original bytes.

    For models whose input size (px) or resize is not that of build/packed. Rows are ordered by split, as given, then by
    sha256. `names`: the model's labels, if they are not labels.names.
    """
    known = tables.read_parquet(paths.SPLITS, ["sha256", "label", "split"])
    parts = [known[known["split"] == split].sort_values("sha256") for split in splits]
    return predictions_of(score, size, pd.concat(parts, ignore_index=True), params, names, resize)


def predictions_of(
    score: Score,
    size: int,
    pictures: pd.DataFrame,
    params: Params,
    names: Sequence[str] | None = None,
    resize: Resize = SQUASH,
) -> pd.DataFrame:
    """Return `sha256, split, label, p_<class>...` of these pictures (`sha256, split, label`), in their order.

    Raises:
        UserError: a picture is not in the catalog.

    """
    rows = _locate(pictures)
    predicted = [_predict(score, chunk[:, 0]) for chunk in _render(rows, size, (PLAIN,), params, resize)]
    names = names or params.labels.names
    probabilities = np.concatenate(predicted) if predicted else np.empty((0, len(names)))
    return table.frame(rows["sha256"].tolist(), rows["split"].tolist(), rows["label"].tolist(), probabilities, names)


def pictures_of(
    split: str, size: int, params: Params, most: int
) -> tuple[pd.DataFrame, Iterator[npt.NDArray[np.uint8]]]:
    """Return `sha256, label` of a split's first pictures by sha256, `most` at most, and their pixels in chunks.

    Pixels are uint8 (n, size, size, 3), RGB, from the original bytes, in the rows' order.
    """
    known = tables.read_parquet(paths.SPLITS, ["sha256", "label", "split"])
    chosen = known[known["split"] == split].sort_values("sha256").head(most)
    rows = _locate(chosen[["sha256", "label"]])
    return rows[["sha256", "label"]], (chunk[:, 0] for chunk in _render(rows, size, (PLAIN,), params))


def robustness(
    score: Score,
    size: int,
    test: pd.DataFrame,
    params: Params,
    match: LabelMatch | None = None,
    resize: Resize = SQUASH,
) -> dict[str, Any]:
    """Return recall, macro_recall, unsafe_recall and its interval of the same test pictures, plain and distorted.

    At most evaluate.robustness_pictures of them, the first by sha256: as good as a random draw, and the same pictures
    for every model. `worst` is the distortion with the lowest unsafe recall, None where nothing is unsafe. `match`: of
    the model's labels, if they are not labels.names.
    """
    match = match or LabelMatch.own(params.labels.names, params.labels.unsafe)
    chosen = test.sort_values("sha256").head(params.evaluate.robustness_pictures)
    forms = (PLAIN, *DISTORTIONS)
    rows = _locate(chosen[["sha256", "label"]])
    chunks = [
        np.stack([_predict(score, chunk[:, form]) for form in range(len(forms))], axis=1)
        for chunk in _render(rows, size, forms, params, resize)
    ]
    probabilities = np.concatenate(chunks)
    truth = match.truth(rows["label"])
    report: dict[str, Any] = {"pictures": len(rows)}
    for index, form in enumerate(forms):
        figures = matched_summary(match.widen(probabilities[:, index]), truth, match, params.evaluate.confidence)
        report[form] = {
            "recall": figures["recall"],
            "macro_recall": figures["macro_recall"],
            "unsafe_recall": figures["unsafe"]["recall"],
            "unsafe_recall_interval": figures["unsafe"]["recall_interval"],
        }
    known = [form for form in DISTORTIONS if report[form]["unsafe_recall"] is not None]
    worst = min(known, key=lambda form: report[form]["unsafe_recall"], default=None)
    report["worst"] = worst and {"distortion": worst, "unsafe_recall": report[worst]["unsafe_recall"]}
    return report


def _locate(rows: pd.DataFrame) -> pd.DataFrame:
    """Return `rows` with the location of each picture's bytes.

    Raises:
        UserError: a picture is not in the catalog.

    """
    catalog = tables.read_parquet(paths.CATALOG, Member._fields)
    located = rows.merge(catalog, on="sha256", how="left", validate="one_to_one")
    lacking = located.loc[located["shard"].isna(), "sha256"].tolist()
    if lacking:
        raise UserError(
            f"{len(lacking)} pictures are not in {paths.CATALOG}, {lacking[0]} among them: it is of another version "
            "of the data. Run `dvc repro`."
        )
    return located.astype({"offset": "int64", "size": "int64"})


def _render(
    rows: pd.DataFrame, size: int, forms: tuple[str, ...], params: Params, resize: Resize = SQUASH
) -> Iterator[npt.NDArray[np.uint8]]:
    members = members_of(rows)
    limits = Limits(**params.catalog.limits)
    # Absolute: a sandbox worker may have started in another directory.
    rendering = Renderer(paths.SHARDS.absolute(), limits, size, forms, resize)
    return render_all(rendering, sandbox.WorkerLimits(params.catalog.seconds, params.catalog.memory_mb), members)


def _predict(score: Score, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
    parts = [np.asarray(score(pictures[start : start + BATCH])) for start in range(0, len(pictures), BATCH)]
    return np.concatenate(parts)
