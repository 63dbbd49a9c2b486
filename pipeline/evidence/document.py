"""The evidence on a model as one typed document: evidence.json, its schema, and the names of the files beside it.

    document = Document.read(Path("build/evidence") / DOCUMENT)
    document.summary.unsafe.recall

docs/evidence.md explains each section.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError

from pipeline.core.errors import UserError
from pipeline.core.files import read_object
from pipeline.evaluation.label_match import LabelMatch
from pipeline.evidence.checks import Labelled, Leaks, Reports, Robustness, Slices, Source
from pipeline.evidence.figures import Bootstrap, Calibration, OperatingPoint, Summary, TestSet, TrueClasses
from pipeline.evidence.section import SHOWN, Digest, Section, Several

SCHEMA: Literal[1] = 1
# The files of a folder of evidence; CARD_* is the model card.
DOCUMENT, FACTS, PREDICTIONS = "evidence.json", "facts.json", "predictions.parquet"
CARD_TEXT, CARD_PAGE = "model_card.md", "model_card.html"
PLOTS = "plots"

WAY_OUT = "Run `dvc repro evaluate`, or use the version of the code that made the evidence."


class Document(Section):
    """The evidence on one model. `size`: its input (px); `confidence`: of every interval.

    `labels` and `unsafe` are the model's own. `truth`: the classes of the pictures; None if those are the labels.
    """

    schema_number: Literal[1] = Field(alias="schema")
    model_sha256: Digest
    labels: Several[str]
    unsafe: Several[str]
    size: int
    confidence: float
    test: TestSet
    summary: Summary
    bootstrap: Bootstrap
    calibration: Calibration
    target_recall: float
    operating_points: dict[str, OperatingPoint]
    policy: dict[str, Several[str]]
    robustness: Robustness
    slices: Slices
    raw: Labelled
    cleaned: Labelled
    reports: Reports
    leaks: Leaks
    truth: TrueClasses | None = None
    sources: Several[Source] | None = None  # documents of earlier versions have none

    @property
    def match(self) -> LabelMatch:
        """The model's labels beside the classes of the pictures."""
        truth = self.truth or TrueClasses(labels=self.labels, unsafe=self.unsafe)
        return LabelMatch(self.labels, self.unsafe, truth.labels, truth.unsafe)

    @classmethod
    def read(cls, source: Path | Mapping[str, Any]) -> Self:
        """Return the document in a file, or in a JSON object that was read already.

        Raises:
            UserError: there is no such file, it has another schema, or a part of it is missing or broken.

        """
        name, content = (str(source), read_object(source)) if isinstance(source, Path) else (DOCUMENT, source)
        if not isinstance(content, Mapping):
            raise UserError(f"{name} is no JSON object. {WAY_OUT}")
        if content.get("schema") != SCHEMA:
            raise UserError(f"{name} has schema {content.get('schema')}, this program reads {SCHEMA}. {WAY_OUT}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UserError(f"{name} (schema {SCHEMA}) is {_problems(error)}. {WAY_OUT}") from None


def _problems(error: ValidationError) -> str:
    """Return which parts are missing and which are wrong, three of either at most."""
    lacking, wrong = [], []
    for problem in error.errors(include_url=False):
        where = ascii(".".join(map(str, problem["loc"])))[1:-1][:SHOWN]
        if problem["type"] == "missing":
            lacking.append(where)
        else:
            wrong.append(f"{where}: {problem['msg'].removeprefix('Value error, ')}")
    parts = [f"without {', '.join(lacking[:3])}: another version of this program wrote it, or a hand"] * bool(lacking)
    return "; ".join([*parts, *(["wrong: " + "; ".join(wrong[:3])] if wrong else [])])
