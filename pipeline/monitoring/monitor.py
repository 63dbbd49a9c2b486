"""Compare windows of scores with a reference, write the page, and record the comparison for MLflow."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from pipeline.core import files
from pipeline.monitoring import drift, scores
from pipeline.monitoring.report import Monitored
from pipeline.params.root import Params
from pipeline.tracking.publish import PublicationResult, publish
from pipeline.tracking.run_record import RunRecord

PAGE = "monitor.html"


def monitor(
    reference: scores.Window, windows: Sequence[scores.Window], slices: pd.DataFrame | None, params: Params
) -> Monitored:
    """Return what has changed; `slices` has `sha256, slice`, or is None."""
    by_window = [drift.compare(reference, window, params.monitor, slices) for window in windows]
    judged = iter(drift.judge([row for rows in by_window for row in rows], params.monitor))
    return Monitored(reference, windows, [[next(judged) for _ in rows] for rows in by_window], params.monitor)


def by_folder(windows: Sequence[scores.Window]) -> pd.DataFrame:
    """Return `sha256, slice`: the name of the folder that a picture lies in."""
    rows = pd.concat([window.scored[["sha256", "path"]] for window in windows], ignore_index=True)
    return pd.DataFrame({"sha256": rows["sha256"], "slice": [Path(path).parent.name for path in rows["path"]]})


def record(result: Monitored) -> PublicationResult:
    """Record a comparison as a run of kind `monitor`, a step a window, with the page; and publish it."""
    paths = [result.reference.path, *(window.path for window in result.windows)]
    settings = {"monitor": result.limits.model_dump() | {"reference": str(result.reference.path)}}
    name = f"monitor {', '.join(window.name for window in result.windows)}"[:200]
    with RunRecord.start("monitor", params=settings, inputs=paths, name=name) as run:
        for number in range(len(result.windows)):
            run.log_epoch(number, result.metrics(number))
        files.write_text(result.page(), run.artifact(PAGE))
    return publish(run.folder)
