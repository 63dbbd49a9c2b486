"""`nsfw review --done`: what is settled becomes rows of data/decisions.csv, and a new version of data/.

It may be killed anywhere and run again: a row that the file holds is not written twice.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core import paths
from pipeline.core.csv_rows import quote
from pipeline.core.decisions import ACTS
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, completeness, decision_rows, dvc_pointer, project
from pipeline.params.root import Params
from pipeline.review import acts, opinions, progress
from pipeline.review.acts import Rules
from pipeline.review.opinions import Opinion
from pipeline.review.store import Store


def settled(by_picture: Mapping[str, Sequence[Opinion]], rules: Rules) -> list[tuple[Opinion, Sequence[Opinion]]]:
    """Return the verdict and all opinions of each settled picture that is not in data/ yet, in order of time."""
    ready = [
        (opinions.verdict(by_picture[sha256]), by_picture[sha256])
        for sha256, state in progress.states(by_picture, rules).items()
        if state == opinions.SETTLED
    ]
    return sorted((pair for pair in ready if not pair[0].written), key=lambda pair: pair[0].number)


def row(verdict: Opinion, listed: Sequence[Opinion]) -> dict[str, str]:
    """Return the row of data/decisions.csv; `reviewer` names everyone who came to this verdict."""
    agreeing = [one.reviewer for one in listed if one.meaning == verdict.meaning]
    return {
        "sha256": verdict.sha256,
        "old_label": verdict.old_label,
        "new_label": verdict.act,
        "reviewer": "+".join(dict.fromkeys(agreeing)),
        "reason": verdict.reason or f"nsfw review, {verdict.queue}",
        "decided_at": verdict.decided_at,
        "model_version": verdict.model_version,
    }


def write(store: Store, params: Params, rules: Rules) -> dict[str, Any]:
    """Write the settled decisions into data/, version it, and return counts, ready for JSON.

    Keys: written, before (rows that an earlier, killed run had written), changes ({old -> new: number}), reviewers,
    splits, waiting, disagreements.

    Raises:
        UserError: data/ is not whole, or a label has been renamed since.

    """
    with project.ingest_lock():
        completeness.check(paths.DATA)
        annotation_files.decisions(paths.DECISIONS, params.labels.names)  # a wrong row is somebody else's to correct
        by_picture = acts.all_opinions(store)
        ready = settled(by_picture, rules)
        _check_labels([verdict for verdict, _ in ready], params.labels.names)
        written = decision_rows.append(paths.DECISIONS, [row(*pair) for pair in ready])
        if ready:
            project.add_data()
            acts.mark_written(store, [one.number for _, listed in ready for one in listed])
    states = Counter(progress.states(by_picture, rules).values())
    verdicts = [verdict for verdict, _ in ready]
    return {
        "written": written,
        "before": len(ready) - written,
        "changes": dict(Counter(_change(one) for one in verdicts).most_common()),
        "reviewers": dict(Counter(name for pair in ready for name in row(*pair)["reviewer"].split("+")).most_common()),
        "splits": dict(Counter(one.split or "in no split" for one in verdicts).most_common()),
        "waiting": states[opinions.WAITING],
        "disagreements": states[opinions.DISAGREED],
    }


def describe(report: Mapping[str, Any]) -> list[str]:
    """Return `write`'s counts as lines for a terminal, with the commands that come next."""
    if not report["written"] + report["before"]:
        lines = ["nothing new is settled; data/ is as it was"]
    else:
        lines = [f"wrote {report['written']:,} decisions into {paths.DECISIONS}"]
        if report["before"]:
            lines.append(f"{report['before']:,} were there already, from a run that was cut short")
        for title in ("changes", "reviewers", "splits"):
            lines.append(f"{title}:")
            lines += [f"  {number:>6,}  {name}" for name, number in report[title].items()]
    if report["waiting"]:
        lines.append(f"{report['waiting']:,} pictures wait for a second opinion and stay in review.db")
    if report["disagreements"]:
        lines.append(f"{report['disagreements']:,} disagreements stay: the queue of that name decides them")
    if report["written"] + report["before"]:
        total = report["written"] + report["before"]
        lines += [
            f"next: git add {dvc_pointer.POINTER} && git commit -m 'Review: {total:,} decision{'s' * (total != 1)}'",
            "      dvc repro && nsfw summary",
        ]
    return lines


def _change(verdict: Opinion) -> str:
    return f"{verdict.old_label or '?'} -> {verdict.act if verdict.changes else 'confirmed'}"


def _check_labels(verdicts: Sequence[Opinion], names: Sequence[str]) -> None:
    allowed = {*names, *ACTS}
    strangers = sorted({one.meaning for one in verdicts} - allowed)
    if strangers:
        raise UserError(
            f"decisions in {paths.REVIEW} name {', '.join(map(quote, strangers))}, which labels.names lacks now. "
            "Bring the label back, or take these decisions back on the page."
        )
