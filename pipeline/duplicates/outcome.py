"""The status of every catalogued picture, as tables: canonical, a copy, in conflict, set aside or dropped."""

import pandas as pd

from pipeline.duplicates import label_resolution


def canonical_pictures(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, label, cluster` of every canonical picture."""
    rows = resolved[resolved["status"] == label_resolution.CANONICAL]
    return rows[["sha256", "label", "cluster"]].astype("str")


def conflicts(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `cluster, sha256, label, offered`, a row for each label of each picture in conflict."""
    rows = resolved[resolved["status"] == label_resolution.CONFLICT]
    rows = rows.drop(columns="label").explode("labels").rename(columns={"labels": "label"})
    return rows[["cluster", "sha256", "label", "offered"]].sort_values(["cluster", "sha256", "label"])


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
        "decisions": len(decided),
        "search": counts,
    }


def check_nothing_lost(
    catalog: pd.DataFrame, learned: pd.DataFrame, copied: pd.DataFrame, conflicting: pd.DataFrame, aside: pd.DataFrame,
    dropped: set[str],
) -> None:  # fmt: skip
    """Raise AssertionError unless every catalogued picture is in exactly one of the tables, and no other picture is."""
    parts = [set(learned["sha256"]), set(conflicting["sha256"]), set(aside["sha256"]), dropped]
    parts.append(set(copied.loc[copied["kind"] == "near", "sha256"]) - set().union(*parts))
    together = set().union(*parts)
    if together != set(catalog["sha256"]) or sum(map(len, parts)) != len(catalog):
        raise AssertionError(f"{len(catalog)} catalogued, but {[len(part) for part in parts]} (kept, ...) hold others")
