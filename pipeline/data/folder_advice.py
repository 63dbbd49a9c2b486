"""Messages for a folder that is not DIR/<label>/**, or that holds nothing to ingest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote

from pipeline.core.errors import UserError

_TEST = {"test", "testing", "test_data", "holdout"}


def check_labels(root: Path, labelled: Sequence[str], known: Sequence[str]) -> None:
    """Raise UserError if a folder's name is not a known label."""
    strangers = [label for label in labelled if label not in known]
    if not strangers:
        return
    raise UserError(
        f"{root} has labels that params.yaml does not know: {', '.join(map(repr, strangers))}.\n"
        f"  found: {', '.join(map(repr, labelled))}\n  known (labels.names): {', '.join(map(repr, known))}\n"
        f"Nothing was written. {_way_out(root, strangers, known)}"
    )


def _way_out(root: Path, strangers: Sequence[str], known: Sequence[str]) -> str:
    parts = [name for name in strangers if _holds_labels(root / name, known)]
    if not parts:
        return "Rename the folders, or add the labels to labels.names."
    lines = ["The labels lie one folder deeper. Ingest each part as a batch of its own:"]
    lines += [f"  nsfw ingest folder {quote(str(root / name))} --source {quote(f'NAME-{name}')}" for name in parts]
    if tests := [f"NAME-{name}" for name in parts if name.lower() in _TEST]:
        lines.append(f"and name what is to be test as a whole in params.yaml: split.test_sources: [{', '.join(tests)}]")
    return "\n".join(lines)


def _holds_labels(folder: Path, known: Sequence[str]) -> bool:
    try:
        return any((folder / label).is_dir() for label in known)
    except OSError:
        return False


def nothing_taken(root: Path, known: Sequence[str], refusals: Sequence[str], skipped: Mapping[str, int]) -> str:
    """Return why no file of `root` could be ingested; `refusals` are reasons, as `code: detail`."""
    lines = [f"{root} holds no labelled files that can be taken; nothing was written."]
    if not any(refusals):
        lines[0] = f"{root} holds no labelled files: expected {root}/<label>/..., <label> one of {', '.join(known)}."
    lines += [f"  {count} x {reason}" for reason, count in Counter(filter(None, refusals)).most_common(8)]
    if skipped:
        lines.append(f"  {describe_skipped(skipped)}")
    if any("symbolic link, not followed" in reason for reason in refusals):
        lines.append("`--follow-links` follows links to what lies below the folder. What lies elsewhere, copy there.")
    return "\n".join(lines)


def describe_skipped(skipped: Mapping[str, int]) -> str:
    """Return one line about the hidden files that were skipped."""
    names = ", ".join(f"{name} ({count})" for name, count in sorted(skipped.items()))
    return f"{sum(skipped.values())} hidden files were passed over: {names}"
