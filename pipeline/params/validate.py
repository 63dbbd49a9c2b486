"""The rules of the data checks."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.params.section import Section


class Rule(Section):
    """A data-quality threshold. Severity `error` stops the run, `warn` does not."""

    limit: Annotated[float, Field(ge=0.0)]
    severity: Literal["error", "warn"]


class Validate(Section):
    """Thresholds of the Great Expectations suites."""

    smallest_class: Rule
    class_ratio: Rule
    broken_share_label: Rule
    broken_share_source: Rule
    unreadable_share: Rule
