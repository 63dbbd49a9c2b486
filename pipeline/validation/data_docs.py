"""Run the suites with Great Expectations and write its Data Docs: pages that open offline and run no script.

The site has Great Expectations' own pages of rules and of results, drawn by pipeline/validation/docs_view.py, and a
first page of ours, which shows each rule's severity and, of broken ones, the rows. Equal data gives equal bytes.
"""

import datetime as dt
import hashlib
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipeline.validation import docs_view
from pipeline.validation.suites import ROWS_NAMED, Check, Outcome, Suite

if TYPE_CHECKING:
    from great_expectations.data_context import EphemeralDataContext
    from great_expectations.expectations.expectation import Expectation

# Fixed, so that a run is identified by its data and not by its time.
RUN_NAME, RUN_TIME = "validate", dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
SEVERITIES = {"error": "critical", "warn": "warning"}
SITE = "data_docs"
_SOURCES_NAMED = 20


def run_suites(suites: Sequence[Suite], directory: Path, facts: Sequence[tuple[str, str]] = ()) -> list[Outcome]:
    """Run `suites`, replace `directory` by their Data Docs, and return the outcome of each rule.

    `facts`: names and values that identify the data, for the top of the first page.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{directory.name}.", dir=directory.parent) as scratch:
        site = Path(scratch) / directory.name
        outcomes = _run(suites, site.resolve())
        shutil.rmtree(site / "static")  # what its own view would show
        (site / "index.html").write_text(index_page(outcomes, facts), encoding="utf-8")
        shutil.rmtree(directory, ignore_errors=True)
        site.rename(directory)
    return outcomes


def _run(suites: Sequence[Suite], site: Path) -> list[Outcome]:
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # its import alone logs 200 lines
    import great_expectations as gx
    from great_expectations.core.run_identifier import RunIdentifier

    context = _context(site)
    source = context.data_sources.add_pandas("pipeline")
    outcomes: list[Outcome] = []
    for suite in suites:
        frame = suite.frame.reset_index(drop=True)  # Great Expectations reports rows by their position
        batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        rules = context.suites.add(
            gx.ExpectationSuite(suite.name, expectations=[_expectation(c) for c in suite.checks])
        )
        validation = context.validation_definitions.add(
            gx.ValidationDefinition(name=suite.name, data=batch, suite=rules)
        )
        result = validation.run(
            batch_parameters={"dataframe": frame},
            result_format={"result_format": "SUMMARY", "partial_unexpected_count": ROWS_NAMED},
            run_id=RunIdentifier(run_name=RUN_NAME, run_time=RUN_TIME),
        ).to_json_dict()
        by_rule = {item["expectation_config"]["meta"]["rule"]: item for item in result["results"]}
        outcomes += [_outcome(suite, frame, check, by_rule[check.rule]) for check in suite.checks]
    context.build_data_docs(site_names=[SITE])
    return outcomes


def _context(site: Path) -> "EphemeralDataContext":
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations.data_context.types.base").setLevel(logging.WARNING)  # it sets itself to INFO
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site)}
    view = {"module_name": docs_view.__name__, "class_name": docs_view.PageView.__name__}
    sections = {"expectations": {"view": view}, "validations": {"view": view}}
    context.add_data_docs_site(
        site_name=SITE,
        site_config={"class_name": "SiteBuilder", "store_backend": store, "site_section_builders": sections},
    )
    return context


def _expectation(check: Check) -> "Expectation":
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    arguments = dict(check.arguments)
    if check.when is not None:
        arguments["row_condition"] = Column(check.when[0]) == check.when[1]
    # The pages show notes, but do not show the severity itself.
    notes = f"{check.rule}: {check.promise}. Severity: {check.severity}."
    kind = getattr(gxe, check.expectation)
    return kind(**arguments, severity=SEVERITIES[check.severity], meta={"rule": check.rule}, notes=notes)


def _outcome(suite: Suite, frame: pd.DataFrame, check: Check, item: dict[str, Any]) -> Outcome:
    if item["exception_info"].get("exception_message"):
        raise RuntimeError(f"{suite.name}.{check.rule} could not be checked: {item['exception_info']}")
    result = item["result"]
    if "column" not in check.arguments:
        missing = sorted((result.get("details") or {}).get("mismatched", {}).get("missing", []))
        rows = tuple(f"lacks the column {name}" for name in missing)
        return Outcome(suite.name, check, item["success"], float(len(rows)), len(rows), rows)
    positions = [int(position) for position in result.get("partial_unexpected_index_list") or []][:ROWS_NAMED]
    rows = tuple(_name(frame.iloc[position], suite.named_by, check.arguments["column"]) for position in positions)
    return Outcome(
        suite.name, check, item["success"], _observed(frame, check, result), result["unexpected_count"], rows
    )


def _observed(frame: pd.DataFrame, check: Check, result: dict[str, Any]) -> float | None:
    if check.observe is None:
        return float(result["unexpected_count"])
    values = frame[check.arguments["column"]].dropna()
    return None if values.empty else float(values.agg(check.observe))


def _name(row: pd.Series, named_by: Sequence[str], column: str) -> str:
    """Name a row for a person. repr() keeps control characters of hostile names off the terminal."""
    shown = row.reindex(list(dict.fromkeys((*named_by, column)))).dropna()
    values = [value.item() if isinstance(value, np.generic) else value for value in shown.tolist()]
    return ", ".join(f"{name} {value!r}" for name, value in zip(shown.index, values, strict=True))


def index_page(outcomes: Sequence[Outcome], facts: Sequence[tuple[str, str]] = ()) -> str:
    """Return the site's first page: the facts, then a row for each rule; broken ones with their rows and advice."""
    stamp = RUN_TIME.strftime("%Y%m%dT%H%M%S.%fZ")
    suites = [
        {
            "name": name,
            "link": f"validations/{name}/{RUN_NAME}/{stamp}/pipeline-{name}.html",
            "rows": [_row(outcome) for outcome in outcomes if outcome.suite == name],
        }
        for name in dict.fromkeys(outcome.suite for outcome in outcomes)
    ]
    broken = sum(not outcome.success for outcome in outcomes)
    title = f"Data Docs: {len(outcomes)} rules, {broken} broken"
    return docs_view.page("data_docs_index.html", title=title, facts=facts, suites=suites)


def facts(sightings: pd.DataFrame, catalog: pd.DataFrame, quarantine: pd.DataFrame) -> list[tuple[str, str]]:
    """Return names and values that identify the checked data: the same for the same data, in any commit.

    The digest is that of the contents' sha256, sorted, one a line.
    """
    contents = "\n".join(sorted(catalog["sha256"].dropna().astype("str"))) if "sha256" in catalog else ""
    files = sightings["source"].value_counts().sort_index() if "source" in sightings else pd.Series(dtype="int64")
    sources = ", ".join(f"{name} ({count:,} files)" for name, count in files.head(_SOURCES_NAMED).items())
    if len(files) > _SOURCES_NAMED:
        sources += f" and {len(files) - _SOURCES_NAMED:,} more"
    return [
        ("sources", sources),
        ("files sighted", f"{len(sightings):,}"),
        ("pictures catalogued", f"{len(catalog):,}, digest {hashlib.sha256(contents.encode()).hexdigest()[:16]}"),
        ("files quarantined", f"{len(quarantine):,} (build/quarantine.csv)"),
        ("commit and data.dvc", "in reports/index.html, written by nsfw summary; of all commits: nsfw data versions"),
    ]


def _row(outcome: Outcome) -> dict[str, Any]:
    check = outcome.check
    result, shade = ("ok", "") if outcome.success else ("broken", "failed" if check.severity == "error" else "warned")
    numbers = ["" if value is None else f"{value:g}" for value in (outcome.observed, check.limit)]
    return {
        "shade": shade,
        "cells": [check.rule, check.promise, check.severity, result, *numbers],
        "listed": outcome.listed(),
        "way_out": check.way_out,
    }
