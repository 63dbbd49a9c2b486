"""What is known of a source: licence, terms, contact, how it was collected. In data/sources/<source>.yaml, once each.

about = read(Path("laion.yaml"))   # as a person wrote it
check(paths.DATA, "laion", about)  # before a batch
write(paths.DATA, "laion", about)  # with it
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from pipeline.core import files, yaml_document
from pipeline.core.errors import UserError
from pipeline.data import batch_names, sightings

FOLDER = "sources"  # in data/
KEYS = ("licence", "terms", "contact", "collected")
_REQUIRED = ("licence", "collected")
_SAMPLE = {"licence": "MIT, as this program", "collected": "drawn by this program (pipeline/sample)"}
_REPORTS = {"collected": "accepted reports of the public (data/reports.csv)"}
_MAX_TEXT = 4_000  # characters of one text
_REMEDY = "Give a yaml file with licence and collected, and optionally terms and contact: one text each."


def read(path: Path) -> dict[str, str]:
    """Return what a file says of a source, in the order of KEYS, with white space collapsed.

    Raises:
        UserError: it is no such file, has an unknown key, lacks one or has an empty text; with the line.

    """
    if path.is_dir():
        raise UserError(files.folder_message(path))
    document = yaml_document.read(path, remedy=_REMEDY)
    if not isinstance(document, dict):
        raise UserError(f"{path} has no keys. {_REMEDY}")
    for key, value in document.items():
        where = f"{path}, line {_line(path, str(key))}: {str(key)[:60]!r}"
        if key not in KEYS:
            raise UserError(f"{where} is unknown; the keys are {', '.join(KEYS)}.")
        if not isinstance(value, str) or not value.strip():
            raise UserError(f"{where} must be a text (in quotes, if it looks like a number or a date).")
        if len(value) > _MAX_TEXT:
            raise UserError(
                f"{where} has {len(value):,} characters, more than {_MAX_TEXT:,}: shorten it, or give a link."
            )
    if lacking := [key for key in _REQUIRED if key not in document]:
        raise UserError(f"{path} lacks {', '.join(lacking)}. {_REMEDY}")
    return {key: " ".join(document[key].split()) for key in KEYS if key in document}


def load(data: Path) -> dict[str, dict[str, str]]:
    """Return what is known of the sources, by name.

    Raises:
        UserError: a file of them is broken.

    """
    return {path.stem: read(path) for path in sorted((data / FOLDER).glob("*.yaml"))}


def describe(data: Path, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return what is known of each of `names`, the bundled sample and accepted reports too; {} for an unknown one.

    Raises:
        UserError: a file of the sources is broken.

    """
    known = load(data)
    return {name: known.get(name) or _described_by_program(name) for name in names}


def _described_by_program(name: str) -> dict[str, str]:
    if name == sightings.SAMPLE_SOURCE:
        return dict(_SAMPLE)
    return dict(_REPORTS) if batch_names.is_of_reports(name) else {}


def check(data: Path, source: str, about: Mapping[str, str] | None) -> None:
    """Raise UserError if `about` differs from what is known of the source already."""
    path = data / FOLDER / f"{source}.yaml"
    if about is None or not path.exists():
        return
    before, now = _text(read(path)).splitlines(), _text(about).splitlines()
    if before != now:
        differing = [line for line in difflib.ndiff(before, now) if line[0] in "+-"]
        raise UserError(
            f"--about says something else of the source {source!r} than {path} does; nothing was written.\n"
            + "".join(f"  {line}\n" for line in differing)
            + "Other terms are another source: name it with --source. To correct what is known: change the file, "
            "`dvc add data`, commit, and leave out --about."
        )


def write(data: Path, source: str, about: Mapping[str, str] | None) -> None:
    """Keep what `about` says of the source; nothing for None."""
    if about is not None:
        (data / FOLDER).mkdir(parents=True, exist_ok=True)
        files.write_text(_text(about), data / FOLDER / f"{source}.yaml")


def unknown_lines(data: Path, source: str) -> list[str]:
    """Return the line that says that a source's licence is unknown; [] if it is known, or the sample's own."""
    if source == sightings.SAMPLE_SOURCE or (data / FOLDER / f"{source}.yaml").exists():
        return []
    return [f"the licence of the source {source!r} is unknown: say it with --about FILE (docs/ingest.md, Sources)"]


def without(data: Path) -> list[str]:
    """Return the sources in data/ that nothing is known of, by name; accepted reports and the sample aside."""
    named = set(sightings.load(data / "sightings")["source"])
    return sorted(name for name in named if not batch_names.is_of_reports(name) and unknown_lines(data, name))


def _text(about: Mapping[str, str]) -> str:
    return yaml.safe_dump(dict(about), sort_keys=False, allow_unicode=True, width=10_000)


def _line(path: Path, key: str) -> int:
    """Return the line of a key that the document has; 1 where it is written in another way."""
    lines = path.read_text(encoding="utf-8").splitlines()
    pattern = re.compile(rf"\s*[{{\"']*{re.escape(key)}[\"']*\s*:")
    return next((number for number, line in enumerate(lines, start=1) if pattern.match(line)), 1)
