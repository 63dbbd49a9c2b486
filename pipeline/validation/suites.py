"""The rules of the tables, as Great Expectations suites.

A rule is plain data (`Check`), so that suites can be read, tested and listed without importing Great Expectations,
which takes seconds. `pipeline.validation.data_docs` runs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pipeline.params.validate import Rule, Validate

SIGHTING_COLUMNS = ("sha256", "label", "origin", "source", "fetched_at", "bytes", "status", "reason")
CATALOG_COLUMNS = (
    "sha256", "labels", "first_seen", "sources", "bytes", "format", "mode", "width", "height", "orientation",
    "frames", "sharpness", "entropy", "quality", "shard", "offset", "size",
)  # fmt: skip
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF")
SHA256 = r"^[0-9a-f]{64}\Z"
ROWS_NAMED = 10


@dataclass(frozen=True)
class Check:
    """One rule: a class of `great_expectations.expectations`, its arguments, and what to do when it fails.

    `when` is (column, value): only rows with that value are checked. `observe` is the statistic of the column that is
    compared with `limit`; without it the observed value is the number of offending rows.
    """

    rule: str
    promise: str
    expectation: str
    arguments: Mapping[str, Any]
    way_out: str
    severity: Literal["error", "warn"] = "error"
    limit: float | None = None
    observe: Literal["min", "max"] | None = None
    when: tuple[str, str] | None = None


@dataclass(frozen=True)
class Suite:
    """A frame and its rules. `named_by` are the columns that identify a row for a person."""

    name: str
    frame: pd.DataFrame
    named_by: tuple[str, ...]
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one rule. `rows` names the first offending rows, of `unexpected` in all."""

    suite: str
    check: Check
    success: bool
    observed: float | None
    unexpected: int
    rows: tuple[str, ...] = ()

    def listed(self) -> list[str]:
        """Return the rows named, and how many more there are."""
        more = self.unexpected - len(self.rows)
        return [*self.rows, *([f"and {more} more"] if more else [])]


def sightings_suite(sightings: pd.DataFrame, labels: Sequence[str]) -> Suite:
    """Return the rules of data/sightings; it also reads a column `found_in`, the result of `aggregates.locate`."""
    look = "look at these rows of data/sightings; `dvc checkout data` brings back what was committed"
    lost = "delete .cache/catalog and run `dvc repro -f catalog`: every content must be catalogued or quarantined"
    unknown = "add the label to labels.names in params.yaml, or ingest these files again under a known one"
    checks = (
        _columns(SIGHTING_COLUMNS, "a table in data/sightings was not written by `nsfw ingest`: remove or restore it"),
        *(_present(column, look) for column in ("origin", "source", "bytes", "status")),
        _in_set("status_known", "status", ("stored", "refused", "removed", "escalated"), look),
        _present("sha256", look, when=("status", "stored")),
        Check("sha256_hex", "a stored file's sha256 is 64 hex digits", "ExpectColumnValuesToMatchRegex",
              {"column": "sha256", "regex": SHA256}, look, when=("status", "stored")),
        Check("refused_unnamed", "a refused file has no sha256", "ExpectColumnValuesToBeNull",
              {"column": "sha256"}, look, when=("status", "refused")),
        _in_set("label_known", "label", tuple(labels), unknown),
        _at_least("bytes_range", "bytes", 0, look),
        _in_set("accounted", "found_in", ("catalog", "quarantine", "refused"), lost),
    )  # fmt: skip
    return Suite("sightings", sightings, ("sha256", "origin", "source"), _applicable(checks, sightings))


def catalog_suite(catalog: pd.DataFrame) -> Suite:
    """Return the rules of build/catalog.parquet; it also reads a column `label_count`."""
    look = "look at these rows of build/catalog.parquet; `dvc repro -f catalog` makes it anew"
    checks = (
        _columns(CATALOG_COLUMNS, look),
        *(_present(column, look) for column in ("sha256", "width", "height", "quality", "format")),
        Check("sha256_unique", "each content has one row", "ExpectColumnValuesToBeUnique", {"column": "sha256"}, look),
        Check("sha256_hex", "sha256 is 64 hex digits", "ExpectColumnValuesToMatchRegex",
              {"column": "sha256", "regex": SHA256}, look),
        _at_least("width_range", "width", 1, look),
        _at_least("height_range", "height", 1, look),
        Check("quality_range", "quality is in 0..1", "ExpectColumnValuesToBeBetween",
              {"column": "quality", "min_value": 0.0, "max_value": 1.0}, look),
        _at_least("labelled", "label_count", 1, "ingest these pictures again, under a label"),
        _in_set("format_known", "format", FORMATS, look),
    )  # fmt: skip
    return Suite("catalog", catalog, ("sha256",), _applicable(checks, catalog))


def share_suites(by_label: pd.DataFrame, by_source: pd.DataFrame, totals: pd.DataFrame, rules: Validate) -> list[Suite]:
    """Return the rules that apply the thresholds of params.yaml to aggregates.

    `by_label` has one row a label (label, files, broken, broken_share, pictures), `by_source` one a batch (source,
    files, broken, broken_share), `totals` a single row (class_ratio, unreadable_share). A share of no files is NaN,
    which no rule counts.
    """
    more = "ingest more pictures of these labels, or lower"
    gone = "look at their rows in build/quarantine.csv and replace the files, or raise"
    none = "ingest pictures under this label (one under two labels counts for neither), or take it out of labels.names"
    labels = (
        _at_least("has_pictures", "pictures", 1, none, promise="every label of params.yaml has a picture"),
        _limit("smallest_class", "pictures", rules.smallest_class, more, "every class has enough pictures", least=True),
        _limit(
            "broken_share_label", "broken_share", rules.broken_share_label, gone, "few of a label's files are broken"
        ),
    )
    source = _limit(
        "broken_share_source", "broken_share", rules.broken_share_source, gone, "few of a batch's files are broken"
    )
    whole = (
        _limit("class_ratio", "class_ratio", rules.class_ratio,
               "ingest more pictures of the smallest class (see metrics/validate.json), or raise",
               "the largest class is not many times the smallest"),
        _limit("unreadable_share", "unreadable_share", rules.unreadable_share,
               "look at the rows of data/sightings with status refused: their reasons say more; or raise",
               "few files could not even be read"),
    )  # fmt: skip
    return [
        Suite("labels", by_label, ("label", "pictures", "files", "broken"), labels),
        Suite("sources", by_source, ("source", "files", "broken"), (source,)),
        Suite("totals", totals, ("class_ratio", "unreadable_share"), whole),
    ]


def _columns(columns: Sequence[str], way_out: str) -> Check:
    arguments = {"column_set": list(columns), "exact_match": False}
    return Check("columns", "every column is there, in any order", "ExpectTableColumnsToMatchSet", arguments, way_out)


def _present(column: str, way_out: str, when: tuple[str, str] | None = None) -> Check:
    promise = f"{column} is never empty" + (f" where {when[0]} is {when[1]}" if when else "")
    return Check(f"{column}_present", promise, "ExpectColumnValuesToNotBeNull", {"column": column}, way_out, when=when)


def _in_set(rule: str, column: str, values: Sequence[str], way_out: str) -> Check:
    arguments = {"column": column, "value_set": list(values)}
    return Check(rule, f"{column} is one of {', '.join(values)}", "ExpectColumnValuesToBeInSet", arguments, way_out)


def _at_least(rule: str, column: str, least: int, way_out: str, promise: str | None = None) -> Check:
    arguments = {"column": column, "min_value": least}
    promise = promise or f"{column} is at least {least}"
    return Check(rule, promise, "ExpectColumnValuesToBeBetween", arguments, way_out, limit=least, observe="min")


def _limit(key: str, column: str, rule: Rule, way_out: str, promise: str, *, least: bool = False) -> Check:
    return Check(
        key,
        promise,
        "ExpectColumnValuesToBeBetween",
        {"column": column, "min_value" if least else "max_value": rule.limit},
        f"{way_out} validate.{key}.limit in params.yaml",
        severity=rule.severity,
        limit=rule.limit,
        observe="min" if least else "max",
    )


def _applicable(checks: Sequence[Check], frame: pd.DataFrame) -> tuple[Check, ...]:
    # The rule `columns` reports a missing column; rules that read it would only fail as well.
    needed = [{check.arguments.get("column"), *(check.when or ())[:1]} - {None} for check in checks]
    return tuple(check for check, columns in zip(checks, needed, strict=True) if columns <= set(frame.columns))
