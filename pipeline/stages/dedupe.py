"""Collapse copies to clusters, keep one of each, and set conflicts aside: one content under two labels.

Reads   build/catalog.parquet, data/sightings/*.parquet, data/decisions.csv
Writes  build/deduped.parquet, build/duplicates.parquet, build/conflicts.csv, metrics/dedupe.json
Run     dvc repro dedupe

Copies are exact here (the same bytes), so a cluster is a content and its id is the sha256. What people decided comes
first: a decision relabels a picture, drops it, or settles a conflict; no conflict is ever settled by the machine.
"""

import pandas as pd

from pipeline import decisions, files, paths, tables
from pipeline.ingest import sightings as seen
from pipeline.params import load_params


def resolve(catalog: pd.DataFrame, decided: pd.Series) -> pd.DataFrame:
    """Return catalog's `sha256, cluster, labels` with people's decisions in place of the labels seen.

    A dropped picture has no label left; one without a decision keeps every label it was seen under.
    """
    labels = [
        [] if choice == decisions.DROP else [choice] if isinstance(choice, str) else list(labels)
        for choice, labels in zip(catalog["sha256"].map(decided), catalog["labels"], strict=True)
    ]
    return pd.DataFrame({"sha256": catalog["sha256"], "cluster": catalog["sha256"], "labels": labels})


def deduplicate(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `sha256, label, cluster` of every picture that has exactly one label."""
    single = resolved[resolved["labels"].str.len() == 1]
    return pd.DataFrame(
        {"sha256": single["sha256"], "label": single["labels"].str[0], "cluster": single["cluster"]}
    ).astype("str")


def conflicts(resolved: pd.DataFrame) -> pd.DataFrame:
    """Return `cluster, sha256, label`, a row for each label of each picture that has several."""
    several = resolved[resolved["labels"].str.len() > 1].explode("labels").rename(columns={"labels": "label"})
    return several[["cluster", "sha256", "label"]].sort_values(["cluster", "sha256", "label"])


def duplicates(sightings: pd.DataFrame, deduped: pd.DataFrame, catalog: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each file whose content was seen before it: `sha256, kept, cluster, kind, distance`, and where.

    `kept` is the picture that stands for it in training, null where none does (a conflict, or dropped).
    """
    usable = sightings[sightings["sha256"].isin(catalog["sha256"])]
    again = usable[usable.duplicated("sha256", keep="first")]
    rows = pd.DataFrame(
        {
            "sha256": again["sha256"],
            "kept": again["sha256"].where(again["sha256"].isin(deduped["sha256"])),
            "cluster": again["sha256"],
            "kind": "exact",
            "distance": 0,
            "label": again["label"],
            "origin": again["origin"],
            "source": again["source"],
        }
    )
    return rows.astype({"kept": "str"}).sort_values(["sha256", "source", "origin"])


def summarize(
    deduped: pd.DataFrame, copies: pd.DataFrame, conflicting: pd.DataFrame, decided: pd.Series
) -> dict[str, object]:
    """Return counts: pictures kept, by label too; redundant files; conflicting clusters; decisions applied."""
    return {
        "kept": len(deduped),
        "kept_by_label": deduped["label"].value_counts().sort_index().to_dict(),
        "exact_copies": len(copies),
        "conflicts": int(conflicting["cluster"].nunique()),
        "decisions": len(decided),
    }


def main() -> None:
    """Deduplicate the catalog."""
    params = load_params()
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels"])
    decided = decisions.load_decisions(paths.DECISIONS, params.labels.names)
    resolved = resolve(catalog, decided)
    deduped, conflicting = deduplicate(resolved), conflicts(resolved)
    copies = duplicates(seen.load_some(paths.SIGHTINGS), deduped, catalog)
    tables.write_parquet(deduped, paths.DEDUPED)
    tables.write_parquet(copies, paths.DUPLICATES)
    tables.write_csv(conflicting, paths.CONFLICTS)
    files.write_json(summarize(deduped, copies, conflicting, decided), paths.METRICS / "dedupe.json")
