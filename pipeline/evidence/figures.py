"""The sections of an evidence document on the test set as a whole.

Shares, recalls and probabilities are 0..1; None where nothing is known.
"""

from pipeline.evidence.section import Digest, Interval, OpenInterval, Section, Several


class TrueClasses(Section):
    """The classes that the pictures have, and the unsafe ones of them: those of params.yaml at that time."""

    labels: Several[str]
    unsafe: Several[str]


class TestSet(Section):
    """Which pictures were measured: `evaluation.predictions.digest`, their number, and the number of each class."""

    digest: Digest
    pictures: int
    by_label: dict[str, int]


class UnsafeFigures(Section):
    """Recall and precision of all unsafe classes together."""

    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    precision_interval: Interval | None


class Summary(Section):
    """`evaluation.recall.summary`: one model on one set of pictures; rows of `confusion` are the true classes.

    Figures of classes are None, or left out, where the model has no label for them.
    """

    pictures: int
    accuracy: float | None
    accuracy_interval: Interval | None
    macro_recall: float | None
    macro_recall_interval: Interval | None
    loss: float | None
    recall: dict[str, float | None]
    recall_interval: dict[str, Interval | None]
    precision: dict[str, float | None]
    unsafe: UnsafeFigures
    confusion: Several[Several[int]]


class Bootstrap(Section):
    """`evaluation.bootstrap.intervals`."""

    recall: dict[str, Interval | None]
    precision: dict[str, Interval | None]
    macro_recall: Interval | None
    unsafe_recall: Interval | None
    resamples: int
    seed: int


class Bin(Section):
    """A bin of `evaluation.calibration.reliability_bins`."""

    low: float
    high: float
    pictures: int
    confidence: float | None
    accuracy: float | None


class Bins(Section):
    """The bins before and after the temperature."""

    before: Several[Bin]
    after: Several[Bin]


class HeldOut(Section):
    """The temperature in cross-validation on val: `evaluation.calibration.choose_temperature`."""

    fitted: float
    helps: bool
    loss_before: float | None
    loss_after: float | None
    loss_error: float | None
    ece_before: float | None
    ece_after: float | None


class Calibration(Section):
    """`evaluation.calibration.report` of test; `held_out` is None in documents of before it was tested."""

    temperature: float
    ece_before: float | None
    ece_after: float | None
    loss_before: float
    loss_after: float
    bins: Bins
    held_out: HeldOut | None = None


class Workload(Section):
    """`evaluation.operating_point.at_prevalence`, with what was stated: `unsafe_share`, or `shares` by class."""

    unsafe_share: float | None = None
    shares: dict[str, float] | None = None
    precision: float | None
    precision_interval: OpenInterval | None
    flagged_per_100000: float
    flagged_per_100000_interval: Interval
    missed_per_100000: float
    missed_per_100000_interval: Interval


class OperatingPoint(Section):
    """A roll-up of classes, the threshold that val chooses, and its figures on test: `evaluation.rollups`."""

    classes: Several[str]
    action: str | None
    threshold: float | None
    val_recall: float | None
    recall: float | None
    recall_interval: Interval | None
    precision: float | None
    precision_interval: Interval | None
    false_positive_rate: float | None
    false_positive_rate_interval: Interval | None
    at_prevalence: Workload | None
