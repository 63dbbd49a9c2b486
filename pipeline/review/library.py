"""What is known of the pictures that people look at: label, split, cluster, bytes, origin, copies, the model's answer.

    library = Library.load(params)
    library.about("9f86...")            # a Picture

It is read once, from the tables of the last `dvc repro`. But for the catalog, one that is not there yet is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import files, paths, tables
from pipeline.core.decisions import ESCALATE
from pipeline.core.errors import UserError
from pipeline.data import annotation_files, sightings
from pipeline.data.shards import Member
from pipeline.params.root import Params

MEASURED = ("val", "test")  # splits where a decision changes what is measured
_MOST = 8


@dataclass(frozen=True)
class Copy:
    """Another picture of the same cluster."""

    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Picture:
    """What the page shows of one picture.

    `probabilities`: by class, the likeliest first; {} where no model was asked. `origins`: (origin, source), 8 at most.
    """

    sha256: str
    labels: tuple[str, ...]
    split: str
    cluster: str
    suggested: str = ""
    score: float | None = None
    agreement: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    copies: Sequence[Copy] = ()
    origins: Sequence[tuple[str, str]] = ()

    @property
    def label(self) -> str:
        """Its label; of several, `a|b`."""
        return "|".join(self.labels)

    @property
    def measured(self) -> bool:
        """Whether a decision about it changes what is measured."""
        return self.split in MEASURED


class Library:
    """The tables, indexed by sha256."""

    def __init__(self, frames: Mapping[str, pd.DataFrame], names: Sequence[str], model_version: str) -> None:
        self.names, self.model_version, self.frames = tuple(names), model_version, frames
        catalog, splits = frames["catalog"], frames["splits"]
        self._members = {str(row[0]): Member(*row) for row in _tuples(catalog, Member._fields)}
        self._labels = {sha256: tuple(labels) for sha256, labels in _tuples(catalog, ("sha256", "labels"))}
        self._split: dict[str, str] = dict(_tuples(splits, ("sha256", "split")))
        self._learned_label = dict(_tuples(splits, ("sha256", "label")))
        self._cluster: dict[str, str] = dict(_tuples(frames["clusters"], ("sha256", "cluster")))
        self._cluster |= dict(_tuples(splits, ("sha256", "cluster")))
        self._by_cluster: dict[str, list[str]] = {}
        for sha256, cluster in self._cluster.items():
            self._by_cluster.setdefault(cluster, []).append(sha256)
        self._seen = _origins(frames["sightings"])
        self._answers = _answers(frames["answers"], self.names)
        self._suspicions = {
            sha256: (str(suggested), float(score))
            for sha256, suggested, score in _tuples(frames["suspicions"], ("sha256", "suggested", "score"))
        }
        quality = frames["answers"]
        self._agreement = dict(_tuples(quality, ("sha256", "agreement"))) if "agreement" in quality else {}
        self.decided = dict(_tuples(frames["decided"], ("sha256", "new_label")))
        self.escalated = self.with_copies(one for one, act in self.decided.items() if act == ESCALATE)

    @classmethod
    def load(cls, params: Params) -> "Library":
        """Read the tables.

        Raises:
            UserError: there is no catalog yet, or a table is broken.

        """
        names = params.labels.names
        splits = _optional(paths.SPLITS, ["sha256", "label", "cluster", "split"])
        copies = _optional(paths.DUPLICATES, ["sha256", "cluster", "kind"])
        conflicts = _optional_csv(paths.CONFLICTS, ("sha256", "cluster", "label"))
        decided = annotation_files.decisions(paths.DECISIONS, names).drop_duplicates("sha256", keep="last")
        frames = {
            "catalog": tables.read_parquet(paths.CATALOG, [*Member._fields, "labels"]),
            "splits": splits,
            "clusters": pd.concat([copies[copies["kind"] == "near"][["sha256", "cluster"]], conflicts]),
            "conflicts": conflicts,
            "sightings": sightings.load(paths.SIGHTINGS)[["sha256", "origin", "source"]].dropna(),
            "answers": _first(paths.LABEL_QUALITY, paths.PREDICTIONS),
            "suspicions": _optional_csv(paths.LABEL_ISSUES, ("sha256", "label", "suggested", "score")),
            "decided": decided,
        }
        return cls(frames, names, _registered_version())

    def __contains__(self, sha256: str) -> bool:
        return sha256 in self._members

    def member(self, sha256: str) -> Member:
        """Return where its bytes lie."""
        return self._members[sha256]

    def cluster_of(self, sha256: str) -> str:
        """Return its cluster; a picture without copies is its own."""
        return self._cluster.get(sha256, sha256)

    def labels_of(self, sha256: str) -> tuple[str, ...]:
        """Return its label, the one that it is learned under if it is; several where it is in conflict."""
        if sha256 in self._learned_label:
            return (str(self._learned_label[sha256]),)
        return self._labels.get(sha256, ())

    def with_copies(self, sha256: Any) -> set[str]:
        """Return these pictures, and every picture of their clusters."""
        return {one for name in sha256 for one in (name, *self._by_cluster.get(self.cluster_of(name), ()))}

    def about(self, sha256: str) -> Picture:
        """Return what is known of a picture of the catalog."""
        answer, cluster = self._answers.get(sha256, {}), self.cluster_of(sha256)
        suggested, score = self._suspicions.get(sha256, (next(iter(answer), ""), None))
        others = [one for one in self._by_cluster.get(cluster, ()) if one != sha256][:_MOST]
        return Picture(
            sha256,
            self.labels_of(sha256),
            self._split.get(sha256, ""),
            cluster,
            suggested=suggested,
            score=score,
            agreement=self._agreement.get(sha256),
            probabilities=answer,
            copies=[Copy(one, self.labels_of(one)) for one in others],
            origins=self._seen.get(sha256, [])[:_MOST],
        )


def _registered_version() -> str:
    """Return the registered version whose suspicions these are; "" where there is none."""
    try:
        registered = files.read_object(paths.REGISTERED, "version", "pending")
    except UserError:
        return ""
    return "" if registered["pending"] else str(registered["version"])


def _answers(rows: pd.DataFrame, names: Sequence[str]) -> dict[str, dict[str, float]]:
    shown = [name for name in names if f"p_{name}" in rows]
    columns = [f"p_{name}" for name in shown]
    return {
        str(sha256): dict(sorted(zip(shown, map(float, values), strict=True), key=lambda pair: -pair[1]))
        for sha256, *values in (_tuples(rows, ("sha256", *columns)) if shown else ())
    }


def _first(*choices: Path) -> pd.DataFrame:
    for path in choices:
        if path.is_file():
            return tables.read_parquet(path)
    return pd.DataFrame({"sha256": pd.Series(dtype="str")})


def _optional(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    return tables.read_parquet(path, columns) if path.is_file() else pd.DataFrame(columns=list(columns), dtype="str")


def _optional_csv(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    return tables.read_csv(path, columns) if path.is_file() else pd.DataFrame(columns=list(columns), dtype="str")


def _tuples(frame: pd.DataFrame, columns: Sequence[str]) -> Any:
    return zip(*(frame[name].tolist() for name in columns), strict=True)  # far quicker than rows of a frame


def _origins(frame: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    by_picture: dict[str, list[tuple[str, str]]] = {}
    for sha256, origin, source in _tuples(frame, ("sha256", "origin", "source")):
        by_picture.setdefault(sha256, []).append((origin, source))
    return by_picture
