"""The status of every catalogued picture, as tables: canonical, a copy, in conflict, set aside or dropped."""

import pandas as pd

from pipeline.core.decisions import ESCALATE
from pipeline.duplicates import label_resolution

_EXCLUDED = (label_resolution.DROPPED, label_resolution.NOT_SURE, label_resolution.ESCALATED)


def canonical_pictures(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, label, cluster` of every canonical picture."""
    rows = resolved[resolved["status"] == label_resolution.CANONICAL]
    return rows[["sha256", "label", "cluster"]].astype("str")


def conflicts(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `cluster, sha256, label, offered`, a row for each label of each picture in conflict."""
    rows = resolved[resolved["status"] == label_resolution.CONFLICT]
    rows = rows.drop(columns="label").explode("labels").rename(columns={"labels": "label"})
    return rows[["cluster", "sha256", "label", "offered"]].sort_values(["cluster", "sha256", "label"])


def excluded_pictures(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, cluster, reason, label` of every picture that people took out: dropped, unsure or escalated.

    `label`: of the best unsure picture of a cluster, its label as scraped, under which the raw test set measures it; ""
    for all others, and where its copies were scraped under several labels.
    """
    rows = resolved[resolved["status"].isin(_EXCLUDED)].sort_values("rank")
    exploded = rows[["cluster", "labels"]].explode("labels")
    single = rows["cluster"].map(exploded.groupby("cluster")["labels"].nunique()) == 1
    first = (rows["status"] == label_resolution.NOT_SURE) & ~rows.duplicated(["cluster", "status"])
    label = rows["labels"].str[0].where(first & single, "")
    excluded = rows.assign(reason=rows["status"], label=label)
    return excluded[["sha256", "cluster", "reason", "label"]].sort_values("sha256")


def escalated_files(resolved: pd.DataFrame, sightings: pd.DataFrame, decisions: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, labels, origin, reviewer, reason, decided_at`: every file whose picture, or copy, is escalated.

    `decisions`: as in data/decisions.csv. A copy has the decision of the picture that was escalated.
    """
    last = decisions.drop_duplicates("sha256", keep="last")
    acts = last[last["new_label"] == ESCALATE][["sha256", "reviewer", "reason", "decided_at"]]
    members = resolved.loc[resolved["status"] == label_resolution.ESCALATED, ["sha256", "cluster"]]
    of_clusters = members.merge(acts, on="sha256").drop_duplicates("cluster").rename(columns={"sha256": "original"})
    copies = members[~members["sha256"].isin(acts["sha256"])].merge(of_clusters, on="cluster")
    copies = copies.assign(reason="a copy of " + copies["original"] + ": " + copies["reason"])
    both = pd.concat([acts, copies[acts.columns]])
    seen = sightings[sightings["sha256"].isin(both["sha256"])]
    labels = seen.groupby("sha256")["label"].agg(lambda names: "|".join(sorted(set(names)))).rename("labels")
    rows = seen[["sha256", "origin"]].drop_duplicates().merge(both, on="sha256").merge(labels, on="sha256")
    return rows[["sha256", "labels", "origin", "reviewer", "reason", "decided_at"]].sort_values(["sha256", "origin"])


def set_aside_pictures(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, reason` of every picture that is set aside."""
    return resolved.loc[resolved["status"] == label_resolution.SET_ASIDE, ["sha256", "reason"]]


def copies(sightings: pd.DataFrame, resolved: pd.DataFrame) -> pd.DataFrame:
    """Return the copies, which are not learned from: `sha256, kept, cluster, kind, distance`, label, origin and more.

    Kind `exact`: a row for each file whose content was seen before it. Kind `near`: a row for each picture that is not
    canonical in a cluster of several, with its distance (bits) to `representative`, and how they were matched. `kept`
    is the canonical picture, which replaces it in training; null if there is none (a conflict, set aside, or dropped).
    """
    usable = sightings[sightings["sha256"].isin(resolved["sha256"])].sort_values(
        ["sha256", "fetched_at", "source", "origin"], kind="stable"
    )
    again = usable[usable.duplicated("sha256", keep="first")].assign(kind="exact")
    crowded = resolved["cluster"].duplicated(keep=False) & (resolved["status"] != label_resolution.CANONICAL)
    first = usable.drop_duplicates("sha256")
    close = first[first["sha256"].isin(resolved.loc[crowded, "sha256"])].assign(kind="near")
    columns = ["sha256", "cluster", "kept", "representative", "distance", "how", "score"]
    rows = pd.concat([again, close])[["sha256", "kind", "label", "origin", "source"]].merge(
        resolved[columns], on="sha256"
    )
    exact = rows["kind"] == "exact"
    rows = rows.assign(
        distance=rows["distance"].where(~exact, 0),
        how=rows["how"].where(~exact, "bytes"),
        score=rows["score"].where(~exact, 1.0),
        representative=rows["representative"].where(~exact, rows["sha256"]),
    )
    order = ["sha256", "kept", "cluster", "kind", "distance", "label", "origin", "source"]
    rows = rows[[*order, "representative", "how", "score"]].sort_values(["sha256", "kind", "source", "origin"])
    return rows.astype({"kept": "str", "distance": "int64"})


def summarize(
    resolved: pd.DataFrame, copied: pd.DataFrame, decided: pd.Series, counts: dict[str, int]
) -> dict[str, object]:
    """Return counts: pictures by status, canonical pictures by label, copies by kind, conflicts, the search's work."""
    status, learned = resolved["status"], resolved[resolved["status"] == label_resolution.CANONICAL]
    conflicting = resolved[status == label_resolution.CONFLICT]
    aside = resolved.loc[status == label_resolution.SET_ASIDE, "reason"].str.replace(r":.*", "", regex=True)
    sizes = resolved["cluster"].value_counts()
    return {
        "catalogued": len(resolved),
        "kept": len(learned),
        "kept_by_label": learned["label"].value_counts().sort_index().to_dict(),
        "exact_copies": int((copied["kind"] == "exact").sum()),
        "near_copies": int((status == label_resolution.DUPLICATE).sum()),
        "clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()) if len(sizes) else 0,
        "conflicts": int(conflicting["cluster"].nunique()),
        "conflict_pictures": len(conflicting),
        "set_aside": aside.value_counts().sort_index().to_dict(),
        "dropped": int((status == label_resolution.DROPPED).sum()),
        "unsure": int((status == label_resolution.NOT_SURE).sum()),
        "escalated": int((status == label_resolution.ESCALATED).sum()),
        "decisions": len(decided),
        "search": counts,
    }


def check_nothing_lost(
    catalog: pd.DataFrame, learned: pd.DataFrame, copied: pd.DataFrame, conflicting: pd.DataFrame, aside: pd.DataFrame,
    excluded: pd.DataFrame,
) -> None:  # fmt: skip
    """Raise AssertionError unless every catalogued picture is in exactly one of the tables, and no other picture is."""
    parts = [set(learned["sha256"]), set(conflicting["sha256"]), set(aside["sha256"])]
    parts.append(set(excluded["sha256"]))
    parts.append(set(copied.loc[copied["kind"] == "near", "sha256"]) - set().union(*parts))
    together = set().union(*parts)
    if together != set(catalog["sha256"]) or sum(map(len, parts)) != len(catalog):
        raise AssertionError(f"{len(catalog)} catalogued, but {[len(part) for part in parts]} (kept, ...) hold others")
