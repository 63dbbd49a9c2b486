"""Which picture of a cluster is learned from, under which label: people's decisions first, never the machine's.

A decision applies to its own picture, always. Where a cluster's pictures then agree on one label, the best of them is
kept. Where they do not, the cluster is a conflict and out of training, until a decision on one of its pictures: that
settles it for those pictures whose label it confirms; the others stay in conflict, and are offered the decision.
"""

from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from pipeline.data.annotation_files import DROP

KEPT, DUPLICATE, CONFLICT, SET_ASIDE, DROPPED = "kept", "duplicate", "conflict", "set_aside", "dropped"


class Settled(NamedTuple):
    """One picture: what became of it, its label if kept, the picture that stands for it, labels offered (`a|b`)."""

    status: str
    label: str | None
    kept: str | None
    offered: str


class _Member(NamedTuple):
    sha256: str
    labels: tuple[str, ...]
    decided: bool
    pinned: bool


_SET_ASIDE = Settled(SET_ASIDE, None, None, "")
_DROPPED = Settled(DROPPED, None, None, "")


def settle(clustered: pd.DataFrame, decided: pd.Series, reported: Collection[str]) -> pd.DataFrame:
    """Return `status, label, kept, offered` for each row, in order.

    `clustered`: `sha256, labels, cluster, rank, reason` (why it is set aside, ""). `decided`: label or `drop`, by
    sha256. `reported` pictures stay themselves: each is a regression case, whatever stands for its cluster.
    """
    found: dict[str, Settled] = {}
    crowds: dict[str, list[_Member]] = {}
    ordered = clustered.assign(decided=clustered["sha256"].map(decided)).sort_values("rank")
    columns = (ordered[name] for name in ("sha256", "labels", "cluster", "reason", "decided"))
    for sha256, labels, cluster, reason, choice in zip(*columns, strict=True):
        if reason:
            found[sha256] = _SET_ASIDE
        elif choice == DROP:
            found[sha256] = _DROPPED
        else:
            has = isinstance(choice, str)
            member = _Member(sha256, (choice,) if has else tuple(labels), has, sha256 in reported)
            crowds.setdefault(cluster, []).append(member)
    for members in crowds.values():
        found |= _settle_cluster(members)
    rows = [found[sha256] for sha256 in clustered["sha256"]]
    return pd.DataFrame(rows, columns=list(Settled._fields), index=clustered.index)


def _settle_cluster(members: list[_Member]) -> dict[str, Settled]:
    """`members`: those not dropped, the best first."""
    labels = {label for member in members for label in member.labels}
    chosen = {member.labels[0] for member in members if member.decided}
    if len(labels) == 1:
        return _keep(members)
    found: dict[str, Settled] = {}
    for label in sorted(chosen):
        # Where decisions differ, people told the pictures apart: then a decision speaks for its own picture alone.
        agreeing = [one for one in members if one.labels == (label,) and (one.decided or len(chosen) == 1)]
        found |= _keep(agreeing)
    rest = Settled(CONFLICT, None, None, "|".join(sorted(chosen)))
    return found | {member.sha256: rest for member in members if member.sha256 not in found}


def _keep(members: list[_Member]) -> dict[str, Settled]:
    """Keep the best of pictures that have one label; of those with reported ones, just each of these."""
    label = members[0].labels[0]
    best = next((one.sha256 for one in members if one.pinned), members[0].sha256)
    kept = {one.sha256: Settled(KEPT, label, one.sha256, "") for one in members if one.pinned or one.sha256 == best}
    return {one.sha256: kept.get(one.sha256) or Settled(DUPLICATE, None, best, "") for one in members}
