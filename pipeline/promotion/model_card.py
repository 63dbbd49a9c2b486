"""The model card, after Mitchell et al., "Model Cards for Model Reporting", 2019: written from the evidence alone.

    text = render(evidence, {"model": "nsfw", "version": "3"})
    page = card_page.html(text, "nsfw 3")

Teams may edit the template, docs/model_card.md.j2. Batch names, tickets and tags come from anybody: every value in the
card is escaped for Markdown, unless a filter of card_text made it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.files import read_bytes
from pipeline.evidence.document import Document
from pipeline.evidence.figures import Calibration, Workload
from pipeline.promotion.card_text import FILTERS, NOTHING, Markdown, escape, percent
from pipeline.promotion.gate_table import STATUSES
from pipeline.registry import descriptions

TEMPLATE = Path(__file__).parents[2] / "docs" / "model_card.md.j2"

# What a card may show beside the evidence; each may be missing. params and speed are mappings, gates rows of gate,
# status, value, limit, reason, unjudged; size_mb in MB; imported: where a model that was not trained here came from;
# kept_start: whether no epoch of the fine-tuning was better on validation than the model that it began with;
# diverged_epoch: the epoch, from 1, in which the fine-tuning's loss was not finite; None: in none. over_versions: rows
# of slice_history.collect.
FACTS = (
    "model", "version", "backbone", "commit", "data_md5", "trained_at", "run", "imported", "params", "speed", "size_mb",
    "gates", "kept_start", "diverged_epoch", "over_versions",
)  # fmt: skip

_MOST_ROWS = 50
_PLAIN = "plain"


def render(evidence: Document, facts: Mapping[str, Any] | None = None) -> str:
    """Return the card as Markdown; `facts`: any of FACTS.

    Raises:
        UserError: the template is missing or broken.
        ValueError: a fact has an unknown name.

    """
    known = dict.fromkeys(FACTS) | dict(facts or {})
    if set(known) != set(FACTS):
        raise ValueError(f"no such facts: {', '.join(sorted(set(known) - set(FACTS)))}")
    text = _template().strip() + "\n"
    import jinja2

    # Not autoescape, which is for HTML: `finalize` gets every value of the output, and escapes it for Markdown.
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        autoescape=False,  # noqa: S701
    )
    environment.filters.update(FILTERS)
    try:
        rendered = environment.from_string(text).render(_context(evidence, known))
    except jinja2.TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f", line {line}" if line else ""
        raise UserError(f"{TEMPLATE}{where}: {error}. Correct the template, or `git checkout` it.") from error
    return re.sub(r"\n{3,}", "\n\n", rendered).strip() + "\n"


def _finalize(value: object) -> object:
    if value is None:
        return NOTHING
    return escape(value) if isinstance(value, str) and not isinstance(value, Markdown) else value


def _template() -> str:
    remedy = "The model card needs the project's docs/: run this from a checkout, or `git checkout` the file."
    return read_bytes(TEMPLATE, remedy=remedy).decode()


def _context(evidence: Document, facts: Mapping[str, Any]) -> dict[str, Any]:
    match = evidence.match
    classes, unsafe = match.classes, match.unsafe_classes
    members = [index for index, unsafe_label in enumerate(match.label_members) if unsafe_label]
    operating = sorted(evidence.operating_points.items(), key=lambda item: item[1].action or "")
    stated = [(name, point.at_prevalence) for name, point in operating if point.at_prevalence]
    gates = sorted(facts["gates"] or (), key=lambda row: STATUSES.index(row["status"]))
    return {
        "evidence": evidence.to_json(),  # the template is the team's: it reads the keys of evidence.json
        "facts": facts,
        "gates": gates,
        "failed": [row["gate"] for row in gates if row["status"] == "fail"],
        "unjudged": descriptions.unjudged(gates),
        "classes": classes,
        "unsafe_classes": unsafe,
        "unknown": match.unknown,
        "unjudged_actions": [
            action
            for action, named in evidence.policy.items()
            if named and action not in evidence.operating_points and not match.same
        ],
        "details": _details(evidence, facts),
        "confidence": Markdown(f"{100 * evidence.confidence:g} %"),
        "unsafe_pictures": sum(evidence.test.by_label[name] for name in unsafe),
        "called_unsafe": sum(row[index] for row in evidence.summary.confusion for index in members),
        "order": [*unsafe, *(name for name in classes if name not in unsafe)],
        "points": operating,
        "stated": stated,
        "prevalence": _prevalence(stated[0][1]) if stated else None,
        "calibrated": _calibrated(evidence.calibration),
        # JSON is sorted by name; the undistorted form comes first.
        "forms": [_PLAIN, *(name for name in evidence.robustness.forms if name != _PLAIN)],
        "sides": [("raw, as scraped", evidence.raw), ("cleaned by people", evidence.cleaned)],
        "most": _MOST_ROWS,
    }


def _details(evidence: Document, facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the model details that are known."""
    speed = facts["speed"] or {}
    rows: list[tuple[str, object]] = [
        ("backbone", facts["backbone"]),
        ("input", Markdown(f"{evidence.size} x {evidence.size} px, RGB; the picture is squeezed to a square")),
        ("trained at", facts["trained_at"]),
        ("run", facts["run"]),
        ("commit", facts["commit"]),
        ("data (md5 of data.dvc's content)", facts["data_md5"]),
        ("imported from", facts["imported"]),
        ("size", None if facts["size_mb"] is None else Markdown(f"{facts['size_mb']:.1f} MB")),
        ("one picture, median", _unit(speed.get("p50_ms"), "ms")),
        ("one picture, 95th percentile", _unit(speed.get("p95_ms"), "ms")),
        ("in batches of 32", _unit(speed.get("pictures_per_second"), "pictures a second")),
        *(facts["params"] or {}).items(),
    ]
    return [
        (name, value if isinstance(value, Markdown) else escape(str(value)))
        for name, value in rows
        if value is not None
    ]


def _unit(value: float | None, unit: str) -> Markdown | None:
    return None if value is None else Markdown(f"{value:.1f} {unit}")


def _prevalence(stated: Workload) -> Markdown:
    if stated.unsafe_share is not None:
        return Markdown(f"{percent(stated.unsafe_share)} of the pictures are unsafe")
    shares = ", ".join(f"{escape(name)} {percent(share)}" for name, share in (stated.shares or {}).items())
    return Markdown(f"the classes' shares are {shares}")


_HELPS = "It makes the probabilities more honest here."
_HELPS_NOT = "It does not make them more honest here: validation and test differ, by chance or in kind."


def _calibrated(calibration: Calibration) -> Markdown:
    """Return whether a temperature is applied, and whether it helps on test."""
    tested = calibration.held_out
    if tested is not None and not tested.helps:
        return Markdown(
            f"No temperature is applied: the one that fits validation best, {tested.fitted:.3g}, does not lower "
            "log loss and error, beyond chance, of validation pictures that it was not fitted on."
        )
    before, after = calibration.ece_before, calibration.ece_after
    return Markdown(_HELPS if before is not None and after is not None and after < before else _HELPS_NOT)
