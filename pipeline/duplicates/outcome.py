"""What became of every catalogued picture, as tables: kept, a copy, in conflict, set aside or dropped."""

import pandas as pd

from pipeline.duplicates import label_resolution


def kept(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, label, cluster` of every kept picture."""
    rows = settled[settled["status"] == label_resolution.KEPT]
    return rows[["sha256", "label", "cluster"]].astype("str")


def conflicts(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `cluster, sha256, label, offered`, a row for each label of each picture in conflict."""
    rows = settled[settled["status"] == label_resolution.CONFLICT]
    rows = rows.drop(columns="label").explode("labels").rename(columns={"labels": "label"})
    return rows[["cluster", "sha256", "label", "offered"]].sort_values(["cluster", "sha256", "label"])


def set_aside(settled: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, reason` of what is set aside."""
    return settled.loc[settled["status"] == label_resolution.SET_ASIDE, ["sha256", "reason"]]


def copies(sightings: pd.DataFrame, settled: pd.DataFrame) -> pd.DataFrame:
    """Return what is not learned from because it is a copy: `sha256, kept, cluster, kind, distance`, and where it was.

    Kind `exact`: a row for each file whose content was seen before it. Kind `near`: a row for each picture of a cluster
    of several that is not kept, with its distance (bits) to `representative`, and how they were matched. `kept` is the
    picture that stands for it in training, null where none does (a conflict, set aside, or dropped).
    """
    usable = sightings[sightings["sha256"].isin(settled["sha256"])].sort_values(
        ["sha256", "fetched_at", "source", "origin"], kind="stable"
    )
    again = usable[usable.duplicated("sha256", keep="first")].assign(kind="exact")
    crowded = settled["cluster"].duplicated(keep=False) & (settled["status"] != label_resolution.KEPT)
    first = usable.drop_duplicates("sha256")
    close = first[first["sha256"].isin(settled.loc[crowded, "sha256"])].assign(kind="near")
    columns = ["sha256", "cluster", "kept", "representative", "distance", "how", "score"]
    rows = pd.concat([again, close])[["sha256", "kind", "label", "origin", "source"]].merge(
        settled[columns], on="sha256"
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
    settled: pd.DataFrame, copied: pd.DataFrame, decided: pd.Series, counts: dict[str, int]
) -> dict[str, object]:
    """Return counts: pictures by what became of them, labels kept, copies by kind, conflicts, the search's work."""
    status, learned = settled["status"], settled[settled["status"] == label_resolution.KEPT]
    conflicting = settled[status == label_resolution.CONFLICT]
    aside = settled.loc[status == label_resolution.SET_ASIDE, "reason"].str.replace(r":.*", "", regex=True)
    sizes = settled["cluster"].value_counts()
    return {
        "catalogued": len(settled),
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
    """Raise unless the tables hold every catalogued picture, each as one thing."""
    held = [set(learned["sha256"]), set(conflicting["sha256"]), set(aside["sha256"]), dropped]
    held.append(set(copied.loc[copied["kind"] == "near", "sha256"]) - set().union(*held))
    together = set().union(*held)
    if together != set(catalog["sha256"]) or sum(map(len, held)) != len(catalog):
        raise AssertionError(f"{len(catalog)} catalogued, but {[len(part) for part in held]} (kept, ...) hold others")
