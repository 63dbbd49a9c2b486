"""Writes samples of the machine into the run record while a run trains, under MLflow's own metric names."""

import logging
import threading
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from pipeline.tracking.run_record import RunRecord
from pipeline.tracking.server import prepare_environment

_log = logging.getLogger(__name__)

_FIRST_SAMPLE_SECONDS = 20.0


class SystemSampler:
    """While the context lasts, a thread logs processor, memory, disk, network and GPU use to the record.

    It does not delay the training thread, and raises nothing there.
    """

    def __init__(self, record: RunRecord, *, seconds: float = 10.0) -> None:
        self._record = record
        self._seconds = seconds
        self._stop = threading.Event()
        self._sampled = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="system-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:  # a run shorter than mlflow's import has a sample too
            self._sampled.wait(_FIRST_SAMPLE_SECONDS)
        with self._writing:  # no sample is written once this context is left
            self._stop.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        try:
            monitors = _monitors()
            step = self._record.system_samples  # a run that goes on has some
            wait = 0.5  # the processor's use is that since the monitors were made
            while not self._stop.wait(wait):
                metrics = sample(monitors)
                with self._writing:
                    if not self._stop.is_set():
                        self._record.log_system(step, metrics)
                self._sampled.set()
                step, wait = step + 1, self._seconds
        except Exception as error:  # noqa: BLE001 -- a run is worth more than its system metrics
            _log.debug("no more system metrics: %s", error)
            self._sampled.set()


def sample(monitors: list[Any]) -> dict[str, float]:
    """Return one reading of each monitor, as `system/...`."""
    metrics: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        metrics |= {f"system/{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return metrics


def _monitors() -> list[Any]:
    prepare_environment()
    import psutil
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    psutil.cpu_percent()  # its first answer is always 0
    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # no GPU, or no driver that tells about it
        monitors.append(GPUMonitor())
    return monitors
