"""`nsfw duplicates explain SHA256`: a picture's status after dedupe, and why it is one with others."""

from typing import Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.duplicates import label_resolution, messages

_MAX_LISTED = 20


def collect(sha256: str) -> dict[str, Any]:
    """Return what dedupe's tables say about one picture, ready for JSON; a prefix of its sha256 is enough.

    Raises:
        UserError: no catalogued picture, or several, begin with it; or dedupe has not run.

    """
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels", "width", "height"])
    way_out = f"Look for it in {paths.QUARANTINE}, or take it in: `nsfw ingest`."
    full = find_by_prefix(catalog["sha256"], sha256, f"{sha256} is no catalogued picture. {way_out}")
    deduped = tables.read_parquet(paths.DEDUPED, ["sha256", "label", "cluster"])
    copies = tables.read_parquet(paths.DUPLICATES)
    reasons = tables.read_csv(paths.SET_ASIDE, ("sha256", "reason")).set_index("sha256")["reason"]
    excluded = tables.read_csv(paths.EXCLUDED, ("sha256", "cluster", "reason"))
    near = copies[copies["kind"] == "near"]
    cluster = _cluster(full, (deduped, near, excluded))
    canonical = deduped.loc[deduped["cluster"] == cluster, "sha256"]
    members = _members(catalog, near[near["cluster"] == cluster], canonical, (reasons, excluded), full)
    exact = copies[(copies["kind"] == "exact") & (copies["sha256"] == full)]
    return {
        "sha256": full,
        "cluster": cluster,
        "set_aside": reasons.get(full),
        "files_with_the_same_bytes": exact["origin"].tolist(),
        "members": sorted(members, key=lambda member: (member["sha256"] != full, member["sha256"])),
    }


def _members(
    catalog: pd.DataFrame,
    near: pd.DataFrame,
    canonical: pd.Series,
    out: tuple[pd.Series, pd.DataFrame],
    full: str,
) -> list[dict[str, Any]]:
    """Return the pictures of one cluster.

    `near`: its near copies. `canonical`: its canonical pictures. `out`: what the machine set aside, by sha256, and what
    people took out.
    """
    reasons, excluded = out
    conflicts = tables.read_csv(paths.CONFLICTS, ("cluster", "sha256", "label", "offered"))
    offered = conflicts.drop_duplicates("sha256").set_index("sha256")["offered"]
    status = {  # of several, the last one counts
        **dict.fromkeys(near.loc[near["kept"].notna(), "sha256"], label_resolution.DUPLICATE),
        **dict.fromkeys(reasons.index, label_resolution.SET_ASIDE),
        **dict.fromkeys(offered.index, label_resolution.CONFLICT),
        **dict(zip(excluded["sha256"], excluded["reason"], strict=True)),
        **dict.fromkeys(canonical, label_resolution.CANONICAL),
    }
    matches = near.set_index("sha256")[["representative", "distance", "how", "score"]]
    listed = catalog[catalog["sha256"].isin({*near["sha256"], *canonical, full})]
    return [
        {
            "sha256": str(row["sha256"]),
            "labels": list(row["labels"]),
            "width": int(row["width"]),
            "height": int(row["height"]),
            "status": status.get(str(row["sha256"]), label_resolution.DROPPED),
            "offered": str(offered.get(str(row["sha256"]), "")),
            "matched": _match(str(row["sha256"]), matches),
        }
        for row in listed.to_dict("records")
    ]


def _cluster(sha256: str, tables_of: tuple[pd.DataFrame, ...]) -> str:
    for table in tables_of:
        clusters = table.loc[table["sha256"] == sha256, "cluster"]
        if len(clusters):
            return str(clusters.iloc[0])
    return sha256


def _match(sha256: str, matches: pd.DataFrame) -> dict[str, Any] | None:
    if sha256 not in matches.index:
        return None
    match: dict[Any, Any] = matches.loc[sha256].to_dict()
    return {key: value.item() if hasattr(value, "item") else value for key, value in match.items()}


def find_by_prefix(digests: pd.Series, prefix: str, no_match: str) -> str:
    """Return the one sha256 that begins with `prefix`, in upper or lower case.

    Raises:
        UserError: none does, with the message `no_match`; or several do.

    """
    matches = sorted(digests[digests.str.startswith(prefix.lower())].unique())
    if len(matches) == 1:
        return str(matches[0])
    if not matches:
        raise UserError(no_match)
    raise UserError(f"{len(matches)} pictures begin with {prefix}: {', '.join(matches[:3])}... Type more of it.")


def describe(document: dict[str, Any]) -> list[str]:
    """Return `collect`'s document as lines for a terminal."""
    members = document["members"]
    lines = [f"{document['sha256']}: {_line(members[0])}"]
    if document["set_aside"]:
        lines.append(f"  set aside, {document['set_aside']}; a decision on it in {paths.DECISIONS} brings it back")
    files = document["files_with_the_same_bytes"]
    if files:
        shown = ", ".join(map(repr, files[:5])) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        lines.append(f"  {len(files)} more files have the same bytes: {shown}")
    if len(members) > 1:
        lines.append(f"  one picture with {len(members) - 1} others (cluster {document['cluster']}):")
        lines += [f"    {member['sha256']}  {_line(member)}" for member in members[1 : _MAX_LISTED + 1]]
        lines += [f"    and {len(members) - 1 - _MAX_LISTED} more"] * (len(members) - 1 > _MAX_LISTED)
    return lines


def _line(member: dict[str, Any]) -> str:
    text = f"{member['status']}, {', '.join(member['labels'])}, {member['width']} x {member['height']}"
    match = member["matched"]
    if match and match["representative"] != member["sha256"]:
        match_text = messages.describe_match(match | {"sha256": member["sha256"]})
        text += f"; with {match['representative'][:12]}: {match_text}"
    return text + (f"; offered {member['offered']}" if member["offered"] else "")
