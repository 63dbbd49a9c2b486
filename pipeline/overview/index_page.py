"""reports/index.html: one page with links to every report of the last run, and the commit and data it is about.

`nsfw summary` writes it, not a stage: the state of the registry and of git must never come from a cache. The page needs
no network and runs no script.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import files, paths
from pipeline.evidence.document import CARD_PAGE
from pipeline.overview import decided, gain
from pipeline.overview.summary import describe_recall, training_warnings
from pipeline.pages import static, templating
from pipeline.registry import descriptions

if TYPE_CHECKING:
    from collections.abc import Mapping

INDEX = paths.REPORTS_DIR / "index.html"
MODEL_CARD = paths.REPORTS_DIR / CARD_PAGE
ERRORS = paths.REPORTS_DIR / "errors.html"

# file, title, content, command that makes it
_REPORTS = (
    (MODEL_CARD, "Model card", "gates, review workload, recall with intervals, robustness, slices", "nsfw summary"),
    (ERRORS, "Errors", "the confusion matrix and its worst pictures, blurred; what changed sides", "nsfw summary"),
    (paths.REPORTS_DIR / "article.md", "The article's table", "frozen and fine-tuned, by class", "dvc repro evaluate"),
    (paths.LABEL_ISSUES, "Suspicious labels", "likely wrong ones, the likeliest first", "dvc repro audit"),
    (paths.LABEL_NOISE, "Label noise", "estimated wrong labels by class, source and split", "dvc repro audit"),
    (paths.DUPLICATES_REPORT, "Duplicates", "conflicts and clusters of copies, blurred", "dvc repro dedupe"),
    (paths.CONFLICTS, "Conflicts", "one picture under several labels: a person decides", "dvc repro dedupe"),
    (paths.ESCALATIONS, "Escalated", "pictures that someone has to handle, with their origins", "dvc repro dedupe"),
    (paths.QUARANTINE, "Quarantine", "files that are no usable picture, with the reason", "dvc repro catalog"),
    (paths.SET_ASIDE, "Set aside", "placeholders and the like, with the reason", "dvc repro dedupe"),
    (paths.DATA_DOCS / "index.html", "Data Docs", "what Great Expectations checked", "dvc repro validate"),
    (Path("dvc_plots/index.html"), "Plots", "recall, confusion matrix, curves by epoch", "dvc plots show"),
)

_TEMPLATES = Path(__file__).parent / "templates"


def write(figures: Mapping[str, Any], card: Path | None, errors: Path | None = None) -> None:
    """Write the page, and the registered version's model card and error browser beside it.

    Args:
        figures: What `summary.collect` returns.
        card: The registered version's model card; None where it cannot be fetched.
        errors: Its error browser; None where it cannot be fetched.

    """
    for copied, target in ((card, MODEL_CARD), (errors, ERRORS)):
        if copied is None:
            target.unlink(missing_ok=True)  # none rather than another version's
        else:
            shutil.copyfile(copied, target)
    files.write_text(render(figures), INDEX)


def registered_card(model: Mapping[str, Any]) -> Path | None:
    """Return this machine's copy of a registered version's model card; None where it has none.

    Args:
        model: Its name, its version, and whether the registration is pending.

    """
    from pipeline.registry import evidence_store
    from pipeline.tracking import optional, server
    from pipeline.tracking.absent import or_none

    def read() -> Path | None:
        with server.session() as client:
            version = or_none(lambda: client.get_model_version(model["model"], str(model["version"])))
            return None if version is None else evidence_store.cached_copy(version)

    folder = None if model["pending"] else optional.if_it_answers(read)
    return None if folder is None else folder / CARD_PAGE


def registered_errors(model: Mapping[str, Any]) -> Path | None:
    """Return a copy of a registered version's error browser; None where there is none. `model`: as above."""
    from pipeline.promotion import version_pages

    return None if model["pending"] else version_pages.fetch(model["model"], model["version"])


def render(figures: Mapping[str, Any]) -> str:
    """Return the page; every value is escaped."""
    model, gates = figures["model"], figures["gates"]
    version = "not registered yet" if model["pending"] else f"version {model['version']}, alias {model['alias']}"
    return static.render(
        templating.environment(_TEMPLATES),
        "index.html",
        images=False,
        model=f"{model['model']}, {version}",
        problems=[
            text for text in (figures["problem"], *training_warnings(figures), figures["weak_suspicions"]) if text
        ],
        pictures=figures["test_pictures"],
        labels=decided.labels(figures["decisions"]),
        decisions=f"{figures['decisions']['pictures']:,} pictures decided: {decided.counts(figures['decisions'])}",
        decided=decided.rows(figures["decisions"]),
        gain=gain.rows(figures["gain"]),
        gain_title="" if figures["gain"] is None else gain.title(figures["gain"]),
        recall=describe_recall(figures),
        gates=None if gates is None else descriptions.verdict(gates["gates"]),
        reports=[(_link(path), title, tells, command, path.is_file()) for path, title, tells, command in _REPORTS],
        facts=_facts(figures),
    )


def _link(path: Path) -> str:
    inside = path.is_relative_to(paths.REPORTS_DIR)
    return path.relative_to(paths.REPORTS_DIR).as_posix() if inside else f"../{path.as_posix()}"


def _facts(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    trained, now = figures["trained_from"], figures["working_tree"]
    return [
        ("model trained from commit", _commit(trained)),
        ("model trained from data.dvc", trained["data_md5"] or "not versioned"),
        ("reports written at commit", _commit(now)),
        ("data.dvc now", now["data_md5"] or "not versioned"),
        ("files sighted", f"{figures['sighted']:,}"),
        ("pictures kept", f"{figures['kept']:,}"),
    ]


def _commit(state: Mapping[str, Any]) -> str:
    if state["commit"] is None:
        return "unknown"
    return f"{state['commit']}{', with uncommitted changes' if state['dirty'] else ''}"
