"""The run record: a folder on disk that holds everything about one training run. MLflow's run is a copy of it.

    with RunRecord.start("train", params=params, inputs=[paths.SPLITS]) as record:
        record.log_epoch(0, {"val_loss": 0.7})
        model.save(record.model_path)
    record.copy_to(paths.HEAD)

    record.json     id, kind, name, started_at, finished_at, status, reason, params, tags, lineage, inputs, process
    metrics.jsonl   one line an epoch
    system.jsonl    samples of the machine
    artifacts/      pictures, tables
    model.keras

While it runs, the record lives outside DVC's outputs (`.cache/runs/<id>/`); each line is on disk when its call returns.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core import paths
from pipeline.core.errors import StopRequestedError, UserError
from pipeline.core.files import read_json, write_json
from pipeline.tracking import jsonl, lineage, record_document
from pipeline.tracking.owner_process import is_alive, this_process
from pipeline.tracking.record_document import Kind

RECORD_FILE = "record.json"
METRICS_FILE = "metrics.jsonl"
SYSTEM_FILE = "system.jsonl"
ARTIFACTS = "artifacts"
DIFF_ARTIFACT = "code.diff"


class RunRecord:
    """One run's folder. Leaving it as a context manager marks the run as finished, or as failed with the exception."""

    def __init__(self, folder: Path, document: dict[str, Any]) -> None:
        self.folder = folder
        self.document = document
        self._logged: set[tuple[int | None, str]] = set()  # by earlier processes, if this one resumes the record

    @classmethod
    def start(
        cls,
        kind: Kind,
        *,
        params: Mapping[str, Any],
        inputs: Sequence[Path],
        name: str | None = None,
        tags: Mapping[str, str] | None = None,
        root: Path = paths.RUNS,
        resumable: Path | None = None,
    ) -> Self:
        """Begin a record under `root`; the digests of `inputs` and the lineage are computed now.

        Args:
            kind: which training stage this is.
            params: nested as in params.yaml; stored flat, under dotted keys.
            inputs: the tables and folders that the run reads.
            name: the name that MLflow shows; the kind and the time if None.
            tags: more tags to search the run by.
            root: the folder of the running records.
            resumable: a folder; while it exists, this run will be resumed if its process dies.

        Raises:
            UserError: an input does not exist.

        """
        document = record_document.initial(kind, params, inputs, name=name, tags=tags, resumable=resumable)
        record = cls(root / document["id"], document)
        diff = lineage.git_diff()
        if diff:
            record.artifact(DIFF_ARTIFACT).write_text(diff, encoding="utf-8")
        record._write()
        return record

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a record, running or finished.

        Raises:
            UserError: the folder holds no record, or a broken one.

        """
        document = read_json(folder / RECORD_FILE)
        if not isinstance(document, dict) or not {"id", "kind", "status", "started_at"} <= document.keys():
            raise UserError(f"{folder / RECORD_FILE} is not a run record. Delete {folder} and run `dvc repro`.")
        return cls(folder, document)

    def reopen(self) -> None:
        """Resume a record whose process died. Metrics that it has logged already are not logged again."""
        for file in (METRICS_FILE, SYSTEM_FILE):
            jsonl.drop_torn_line(self.folder / file)
        self._logged = {(line["epoch"], name) for line in self.metrics() for name in line["metrics"]}
        self.document |= {
            "status": "RUNNING",
            "reason": "",
            "finished_at": None,
            "process": this_process(),
            "resumed": int(self.document.get("resumed", 0)) + 1,
        }
        self._write()

    @property
    def id(self) -> str:
        """The record's identity, in MLflow too (tag `nsfw.record_id`)."""
        return str(self.document["id"])

    @property
    def kind(self) -> str:
        """`train`, `finetune`, `tune` (a search), `trial` (a training of it), `import` (a foreign model), `monitor`."""
        return str(self.document["kind"])

    @property
    def status(self) -> str:
        """RUNNING, FINISHED, FAILED or KILLED, as last written."""
        return str(self.document["status"])

    @property
    def has_live_owner(self) -> bool:
        """Whether the process that writes this record is still alive."""
        return is_alive(self.document.get("process", {}), self.folder)

    @property
    def resumable(self) -> bool:
        """Whether the stage resumes this record when it runs again after its process died."""
        folder = self.document.get("resumable")
        return bool(folder) and Path(str(folder)).is_dir()

    @property
    def system_samples(self) -> int:
        """The number of system samples."""
        return len(jsonl.read_lines(self.folder / SYSTEM_FILE)[0])

    @property
    def model_path(self) -> Path:
        """The path of the run's model."""
        return self.folder / paths.MODEL_FILE

    def artifact(self, name: str) -> Path:
        """Return the path to write the artifact `name` (may hold /) to; its folder exists."""
        path = self.folder / ARTIFACTS / name
        if not path.resolve().is_relative_to((self.folder / ARTIFACTS).resolve()):
            raise ValueError(f"artifact name {name!r} leaves the record")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def log_epoch(self, epoch: int, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Append one epoch's metrics; they are on disk when this returns. `step` is the epoch if None."""
        self._log(METRICS_FILE, {"epoch": epoch, "step": epoch if step is None else step}, metrics)

    def log_summary(self, metrics: Mapping[str, float]) -> None:
        """Append metrics of the whole run. Their names must differ from those of the epochs' metrics."""
        self._log(METRICS_FILE, {"epoch": None, "step": 0}, metrics)

    def log_system(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one sample of the machine."""
        self._log(SYSTEM_FILE, {"step": step}, metrics)

    def metrics(self) -> list[dict[str, Any]]:
        """Return every line of metrics.jsonl, in order."""
        return jsonl.read_lines(self.folder / METRICS_FILE)[0]

    @property
    def start_is_best(self) -> bool:
        """Whether no epoch was better than the model that the training began with."""
        return self.summary().get("best_epoch", 0.0) < 0  # epochs count from 0

    @property
    def diverged_epoch(self) -> int | None:
        """The epoch, from 1, in which a training's loss was not finite, so that it ended; None: in none."""
        epoch = self.summary().get("diverged_epoch")
        return None if epoch is None else int(epoch) + 1

    def summary(self) -> dict[str, float]:
        """Return the metrics of the whole run; the last value of each name counts."""
        return {
            key: value for line in self.metrics() if line["epoch"] is None for key, value in line["metrics"].items()
        }

    def finish(self) -> None:
        """Mark the run as finished."""
        self._end("FINISHED", "")

    def fail(self, reason: str) -> None:
        """Mark the run as failed, with the reason."""
        self._end("FAILED", reason)

    def stop(self, reason: str) -> None:
        """Mark the run as stopped on purpose, with the reason."""
        self._end("KILLED", reason)

    def copy_to(self, out: Path) -> None:
        """Put a copy of the record into the folder `out` (hard links where the file system has them)."""
        files = [file for file in sorted(self.folder.rglob("*")) if file.is_file() and file.name != RECORD_FILE]
        for file in [
            *files,
            self.folder / RECORD_FILE,
        ]:  # record.json last: its presence means that the copy is complete
            target = out / file.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(file, target)
            except OSError:
                shutil.copyfile(file, target)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status != "RUNNING":
            return
        if kind is None:
            self.finish()
            return
        with suppress(OSError):  # such as a full disk: the first error is the one to report
            if isinstance(value, StopRequestedError):
                self._end("KILLED", str(value))
            else:
                self.fail(f"{kind.__name__}: {value}" if str(value) else kind.__name__)

    def _log(self, file: str, head: dict[str, Any], metrics: Mapping[str, float]) -> None:
        values = {
            name: float(value) for name, value in metrics.items() if (head.get("epoch"), name) not in self._logged
        }
        if not values:
            return
        line = {**head, "timestamp_ms": time.time_ns() // 1_000_000, "metrics": values}
        jsonl.append(line, self.folder / file)

    def _end(self, status: str, reason: str) -> None:
        self.document |= {"status": status, "reason": reason, "finished_at": datetime.now(UTC).isoformat()}
        self._write()

    def _write(self) -> None:
        # A new inode each time: a hard link of an earlier state (DVC's cache may hold one) keeps its bytes.
        write_json(self.document, self.folder / RECORD_FILE)
