"""Select a cluster's canonical picture and its label: by people's decisions first, never by a decision of the machine.

A decision always applies to its own picture. If a cluster's pictures then agree on one label, the best of them is
canonical. If they do not, the cluster is a conflict and excluded from training, until there is a decision on one of its
pictures: it resolves the conflict for those pictures whose label it confirms; the others stay in conflict, and the
decision is offered for them.

`unsure` and `escalate` are about what a picture shows, not about its file: they go for its copies, too, unless these
have a decision of their own.
"""

from collections.abc import Collection
from typing import NamedTuple

import pandas as pd

from pipeline.core.decisions import DROP, ESCALATE, UNSURE

CANONICAL, DUPLICATE, CONFLICT, SET_ASIDE, DROPPED = "kept", "duplicate", "conflict", "set_aside", "dropped"
NOT_SURE, ESCALATED = "unsure", "escalated"


class Resolution(NamedTuple):
    """One picture's status, its label if it is canonical, its cluster's canonical picture, labels offered (`a|b`)."""

    status: str
    label: str | None
    canonical: str | None
    offered: str


COLUMNS = ["status", "label", "kept", "offered"]  # of a Resolution's fields, in order


class _Member(NamedTuple):
    sha256: str
    labels: tuple[str, ...]
    decided: bool
    pinned: bool


_SET_ASIDE = Resolution(SET_ASIDE, None, None, "")
_DROPPED = Resolution(DROPPED, None, None, "")
_EXCLUDED = {ESCALATE: Resolution(ESCALATED, None, None, ""), UNSURE: Resolution(NOT_SURE, None, None, "")}


def resolve(clustered: pd.DataFrame, decided: pd.Series, reported: Collection[str]) -> pd.DataFrame:
    """Return `status, label, kept, offered` for each row, in order; `kept` is the canonical picture.

    `clustered`: `sha256, labels, cluster, rank, reason` (why it is set aside, or ""). `decided`: by sha256 a label,
    drop, unsure or escalate. `reported` pictures are always canonical, unless a decision takes them out: each is a
    regression case.
    """
    resolutions: dict[str, Resolution] = {}
    by_cluster: dict[str, list[_Member]] = {}
    ordered = clustered.assign(decided=clustered["sha256"].map(decided)).sort_values("rank")
    covered = _covered(ordered)
    columns = (ordered[name] for name in ("sha256", "labels", "cluster", "reason", "decided"))
    for sha256, labels, cluster, reason, choice in zip(*columns, strict=True):
        if reason:
            resolutions[sha256] = _SET_ASIDE
        elif choice == DROP:
            resolutions[sha256] = _DROPPED
        elif choice in _EXCLUDED:
            resolutions[sha256] = _EXCLUDED[choice]
        elif cluster in covered and not isinstance(choice, str):
            resolutions[sha256] = covered[cluster]
        else:
            has = isinstance(choice, str)
            member = _Member(sha256, (choice,) if has else tuple(labels), has, sha256 in reported)
            by_cluster.setdefault(cluster, []).append(member)
    for members in by_cluster.values():
        resolutions |= _resolve_cluster(members)
    rows = [resolutions[sha256] for sha256 in clustered["sha256"]]
    return pd.DataFrame(rows, columns=COLUMNS, index=clustered.index)


def _covered(rows: pd.DataFrame) -> dict[str, Resolution]:
    """Return what the undecided pictures of a cluster are where one of its pictures is escalated, or unsure."""
    return {
        cluster: _EXCLUDED[act]
        for act in (UNSURE, ESCALATE)  # the last one counts
        for cluster in rows.loc[(rows["decided"] == act) & (rows["reason"] == ""), "cluster"]
    }


def _resolve_cluster(members: list[_Member]) -> dict[str, Resolution]:
    """Resolve one cluster; `members`: those that are not dropped, the best first."""
    labels = {label for member in members for label in member.labels}
    decided_labels = {member.labels[0] for member in members if member.decided}
    if len(labels) == 1:
        return _select_canonical(members)
    resolutions: dict[str, Resolution] = {}
    for label in sorted(decided_labels):
        # If decisions differ, people distinguished the pictures: then each decision applies to its own picture only.
        agreeing = [one for one in members if one.labels == (label,) and (one.decided or len(decided_labels) == 1)]
        resolutions |= _select_canonical(agreeing)
    rest = Resolution(CONFLICT, None, None, "|".join(sorted(decided_labels)))
    return resolutions | {member.sha256: rest for member in members if member.sha256 not in resolutions}


def _select_canonical(members: list[_Member]) -> dict[str, Resolution]:
    """Select the best of pictures with one label; if some are reported, select each of these and no other."""
    label = members[0].labels[0]
    best = next((one.sha256 for one in members if one.pinned), members[0].sha256)
    canonical = {
        one.sha256: Resolution(CANONICAL, label, one.sha256, "") for one in members if one.pinned or one.sha256 == best
    }
    return {one.sha256: canonical.get(one.sha256) or Resolution(DUPLICATE, None, best, "") for one in members}
