"""The sections of an evidence document on a part of the pictures, other forms of them, or other labels.

Shares, recalls and probabilities are 0..1; None where nothing is known.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pipeline.evidence.figures import Summary
from pipeline.evidence.section import Interval, Section, Several


class Distorted(Section):
    """Figures of the test pictures in one form: plain, or distorted."""

    recall: dict[str, float | None]
    macro_recall: float | None
    unsafe_recall: float | None
    unsafe_recall_interval: Interval | None


class WorstDistortion(Section):
    """The distortion with the lowest unsafe recall."""

    distortion: str
    unsafe_recall: float


class Robustness(Section):
    """`evidence.scoring.robustness`; in the file the forms stand beside `pictures` and `worst`."""

    pictures: int
    forms: dict[str, Distorted]
    worst: WorstDistortion | None

    @model_validator(mode="before")
    @classmethod
    def _gather_forms(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        own = {key: value[key] for key in ("pictures", "worst") if key in value}
        return own | {"forms": {key: form for key, form in value.items() if key not in own}}

    @model_serializer(mode="wrap")
    def _spread_forms(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        forms: dict[str, Any] = content.pop("forms")
        return content | forms


class Slice(Section):
    """A row of `evaluation.slices.measure`; documents of earlier versions have no false positives."""

    family: str
    slice: str
    pictures: int
    unsafe_pictures: int
    accuracy: float | None
    accuracy_interval: Interval | None
    unsafe_recall: float | None
    unsafe_recall_interval: Interval | None
    false_positive_rate: float | None = None
    false_positive_rate_interval: Interval | None = None


class Gap(Section):
    """The family whose slices' unsafe recalls lie farthest apart; `best` and `worst` are slices."""

    family: str
    best: str
    worst: str
    gap: float


class Slices(Section):
    """Figures by slice; slices with fewer than `min_slice` unsafe pictures do not count for the gap."""

    rows: Several[Slice]
    gap: Gap | None
    min_slice: int


class Labelled(Section):
    """`evaluation.reviewed.compare_labels`: the figures under the raw, or under the cleaned labels."""

    pictures: int
    relabelled: int
    dropped: int
    changed: int = 0  # 0 in versions from before these decisions existed
    confirmed: int = 0
    unsure: int = 0
    escalated: int = 0
    summary: Summary | None


class WrongReport(Section):
    """A reported picture that the model gets wrong."""

    sha256: str
    expected_label: str
    answer: str = Field(alias="said")
    ticket: str
    slice: str = ""


class Reports(Section):
    """`evaluation.reviewed.regression`: the public reports, how many of them the model gets right, and by their slice.

    Documents of earlier versions have no slices.
    """

    cases: int
    right: int
    missing: int
    wrong: Several[WrongReport]
    slices: Several[Slice] = ()


class Pair(Section):
    """A test picture and its nearest train picture (sha256 each), and the correlation of their thumbnails."""

    test: str
    train: str
    correlation: float


class Leaks(Section):
    """`evaluation.leaks.report`."""

    test_pictures: int
    train_pictures: int
    near: int
    share: float | None
    straddling: int
    threshold: float
    pairs: Several[Pair]


class Source(Section):
    """Where pictures come from, as `nsfw ingest --about` describes it; an unknown key is left out.

    `train`, `val`, `test`: how many pictures of the split the source has. A picture may have several sources.
    """

    name: str
    train: int
    val: int
    test: int
    licence: str | None = None
    collected: str | None = None
    terms: str | None = None
    contact: str | None = None
