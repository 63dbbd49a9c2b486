"""What both training stages do around the fit: a run that survives its process, and its record's end."""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path

import numpy as np

from pipeline.core import code_digests, paths
from pipeline.evaluation import plots
from pipeline.evaluation.recall import confusion
from pipeline.model import hardware
from pipeline.params.labels import Labels
from pipeline.params.root import Params
from pipeline.tracking import lineage, main_project
from pipeline.tracking.live_publisher import tracked_run
from pipeline.tracking.run_record import Kind, RunRecord
from pipeline.training import checkpoint, contact_sheet, packed_records
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.fit import START

# What the weights depend on beside params, data and our own code.
_LIBRARIES = ("keras", "tensorflow", "numpy")

_LOOKED_THROUGH = 256  # pictures, for a few of safe classes

_NOTHING_GAINED = (
    "%s: NO EPOCH IS BETTER than the model that it began with (macro recall %.3f on validation): that model is kept; "
    "nothing was gained. Lower finetune.schedule.initial, unfreeze fewer layers, or train longer"
)

_log = logging.getLogger(__name__)


@contextmanager
def resumable_run(
    kind: Kind, params: Params, sections: Sequence[str], inputs: Sequence[Path], more: Sequence[Path] = ()
) -> Iterator[tuple[RunRecord, Checkpoints]]:
    """Begin a tracked run, or go on with the one whose process died; yield its record and its checkpoints.

    A run goes on where params, data and code are the same. After a clean end, `remove` the checkpoints as soon as the
    result is in place. `inputs` are the data that the record names; the weights depend on the files `more` too.
    """
    values = params.model_dump(include=set(sections))
    identity = _identity(kind, values, [*inputs, *more])
    chief = hardware.is_chief()
    checkpoints = checkpoint.find(
        paths.CHECKPOINTS, kind, identity, every_minutes=params.checkpoint.every_minutes, read_only=not chief
    )
    interrupted = checkpoints.record if chief else None
    if interrupted is not None:
        _log.info("%s was interrupted: its run %s goes on", kind, interrupted.name)
    # Other machines of the same training keep no record: what they see, the chief sees.
    runs = main_project.lasting(paths.RUNS)
    place = nullcontext(str(runs)) if chief else tempfile.TemporaryDirectory()
    with (
        place as root,
        tracked_run(
            kind,
            params=values,
            inputs=inputs,
            root=Path(root),
            resume=interrupted,
            # Relative, for a project may move; but one that is to be deleted is not to be looked for elsewhere.
            resumable=checkpoints.folder.absolute() if main_project.is_temporary() else checkpoints.folder,
            publish=chief,
        ) as record,
    ):
        checkpoints.belongs_to(record.folder, identity)
        yield record, checkpoints


def log_start(record: RunRecord, metrics: Mapping[str, float]) -> None:
    """Log the metrics of the weights that a training begins with, as `start_<name>`."""
    record.log_summary({f"start_{name}": value for name, value in metrics.items() if "/" not in name})


def log_result(
    record: RunRecord, best: Mapping[str, float], probabilities: np.ndarray, truth: np.ndarray, labels: Labels
) -> None:
    """Log the best epoch's overall metrics as `best_<name>`, its confusion matrix on validation, and the curves."""
    if best["epoch"] == START:
        _log.warning(_NOTHING_GAINED, record.kind, best["val_macro_recall"])
    else:
        figures = best["epoch"] + 1, best["val_macro_recall"]
        _log.info("%s: epoch %d is the best, macro recall %.3f on validation", record.kind, *figures)
    record.log_summary({f"best_{name}": value for name, value in best.items() if "/" not in name})
    counts = confusion(truth, probabilities.argmax(axis=1), len(labels.names))
    matrix = plots.confusion_figure(counts, labels.names, unsafe=labels.unsafe, title="validation, best epoch")
    plots.save(matrix, record.artifact("confusion_val.png"))
    epochs = [line["metrics"] for line in record.metrics() if line["epoch"] is not None]
    plots.save(plots.curves_figure(epochs, labels.names, title=record.kind), record.artifact("curves.png"))


def log_contact_sheet(record: RunRecord, params: Params) -> None:
    """Log what augmentation makes of a few train pictures; of safe classes, for nobody asked to see the others."""
    names, unsafe = params.labels.names, params.labels.unsafe
    safe = [index for index, name in enumerate(names) if name not in unsafe]
    rows = packed_records.pictures(
        packed_records.packed_files(paths.PACKED, "train"), params.backbone.size, _LOOKED_THROUGH
    )
    pictures, labels, _ = next(iter(rows))
    chosen = np.flatnonzero(np.isin(labels.numpy(), safe))[: contact_sheet.ROWS]
    if len(chosen):
        shown = [names[label] for label in labels.numpy()[chosen]]
        sheet = contact_sheet.contact_sheet(pictures.numpy()[chosen], shown, params.augment, params.seed)
        sheet.save(record.artifact("augmentation.png"))


def _identity(kind: Kind, values: Mapping[str, object], data: Sequence[Path]) -> dict[str, str]:
    parts = {
        "params": [repr(values)],
        "data": [lineage.digest(path) for path in data],
        "code": [*code_digests.lines(f"pipeline.stages.{kind}"), *(f"{name} {version(name)}" for name in _LIBRARIES)],
    }
    return {name: hashlib.sha256("\n".join(texts).encode()).hexdigest() for name, texts in parts.items()}
