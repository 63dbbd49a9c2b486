"""What both training stages do around the fit: a run that can be resumed, and the logging of its results."""

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from pipeline.core import paths
from pipeline.evaluation import plots
from pipeline.evaluation.recall import confusion
from pipeline.model import hardware
from pipeline.params.labels import Labels
from pipeline.params.root import Params
from pipeline.tracking import main_project
from pipeline.tracking.live_publisher import tracked_run
from pipeline.tracking.record_document import Kind
from pipeline.tracking.run_record import RunRecord
from pipeline.training import checkpoint, contact_sheet, packed_records
from pipeline.training.checkpoint import Checkpoints
from pipeline.training.fit import START
from pipeline.training.identity import digests_of

_SEARCHED_PICTURES = 256  # for a few of safe classes

_NOTHING_GAINED = (
    "%s: NO EPOCH IS BETTER than the model that it began with (macro recall %.3f on validation): that model is kept; "
    "nothing was gained. Lower finetune.schedule.initial, unfreeze fewer layers, or train longer"
)

_log = logging.getLogger(__name__)


@contextmanager
def resumable_run(
    kind: Kind, params: Params, sections: Sequence[str], inputs: Sequence[Path], more: Sequence[Path] = ()
) -> Iterator[tuple[RunRecord, Checkpoints]]:
    """Start a tracked run, or resume an interrupted one; yield its record and its checkpoints.

    A run is resumed if params, data and code are the same. At the end the caller must `remove` the checkpoints once the
    result is saved. `inputs` are the data that the record lists; the weights depend on the files of `more`, too.
    """
    values = params.model_dump(include=set(sections))
    identity = digests_of(kind, values, [*inputs, *more])
    chief = hardware.is_chief()
    checkpoints = checkpoint.prepare(
        paths.CHECKPOINTS, kind, identity, every_minutes=params.checkpoint.every_minutes, read_only=not chief
    )
    interrupted = checkpoints.record if chief else None
    if interrupted is not None:
        _log.info("%s was interrupted: its run %s is resumed", kind, interrupted.name)
    # Only the chief keeps a record; the other machines of a training see the same metrics.
    runs = main_project.persistent_path(paths.RUNS)
    runs_folder = nullcontext(str(runs)) if chief else tempfile.TemporaryDirectory()
    with (
        runs_folder as root,
        tracked_run(
            kind,
            params=values,
            inputs=inputs,
            root=Path(root),
            resume=interrupted,
            # Relative, because a project may move; absolute in a temporary one, which must not be looked for elsewhere.
            resumable=checkpoints.folder.absolute() if main_project.is_temporary() else checkpoints.folder,
            publish=chief,
        ) as record,
    ):
        checkpoints.note_run(record.folder, identity)
        yield record, checkpoints


def log_start(record: RunRecord, metrics: Mapping[str, float]) -> None:
    """Log the metrics of the weights that a training starts with, as `start_<name>`."""
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
    overall = {name: value for name, value in best.items() if "/" not in name}
    if "diverged_epoch" in overall:  # of the training, not of its best epoch
        record.log_summary({"diverged_epoch": overall.pop("diverged_epoch")})
    record.log_summary({f"best_{name}": value for name, value in overall.items()})
    counts = confusion(truth, probabilities.argmax(axis=1), len(labels.names))
    matrix = plots.confusion_figure(counts, labels.names, unsafe=labels.unsafe, title="validation, best epoch")
    plots.save(matrix, record.artifact("confusion_val.png"))
    epochs = [line["metrics"] for line in record.metrics() if line["epoch"] is not None]
    plots.save(plots.curves_figure(epochs, labels.names, title=record.kind), record.artifact("curves.png"))


def log_contact_sheet(record: RunRecord, params: Params) -> None:
    """Log a contact sheet of augmented train pictures, of safe classes only."""
    names, unsafe = params.labels.names, params.labels.unsafe
    safe = [index for index, name in enumerate(names) if name not in unsafe]
    rows = packed_records.pictures(
        packed_records.packed_files(paths.PACKED, "train"), params.backbone.size, _SEARCHED_PICTURES
    )
    pictures, labels, _ = next(iter(rows))
    chosen = np.flatnonzero(np.isin(labels.numpy(), safe))[: contact_sheet.ROWS]
    if len(chosen):
        shown = [names[label] for label in labels.numpy()[chosen]]
        sheet = contact_sheet.contact_sheet(pictures.numpy()[chosen], shown, params.augment, params.seed)
        sheet.save(record.artifact("augmentation.png"))
