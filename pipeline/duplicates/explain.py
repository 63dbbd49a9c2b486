"""`nsfw duplicates explain SHA256`: what became of a picture, and why it and others are one."""

from typing import Any

import pandas as pd

from pipeline.core import paths, tables
from pipeline.core.errors import UserError
from pipeline.duplicates import label_resolution, messages

_MOST = 20


def collect(sha256: str) -> dict[str, Any]:
    """Return what dedupe's tables say of one picture, ready for JSON; a beginning of its sha256 will do.

    Raises:
        UserError: no catalogued picture, or several, begin like this; or dedupe has not run.

    """
    catalog = tables.read_parquet(paths.CATALOG, ["sha256", "labels", "width", "height"])
    way_out = f"Look for it in {paths.QUARANTINE}, or take it in: `nsfw ingest`."
    full = by_beginning(catalog["sha256"], sha256, f"{sha256} is no catalogued picture. {way_out}")
    deduped = tables.read_parquet(paths.DEDUPED, ["sha256", "label", "cluster"])
    copies = tables.read_parquet(paths.DUPLICATES)
    conflicts = tables.read_csv(paths.CONFLICTS, ("cluster", "sha256", "label", "offered"))
    aside = tables.read_csv(paths.SET_ASIDE, ("sha256", "reason"))
    near = copies[copies["kind"] == "near"]
    cluster = _cluster(full, (deduped, near))
    of_cluster = near[near["cluster"] == cluster]
    kept = deduped.loc[deduped["cluster"] == cluster, "sha256"]
    members = {*of_cluster["sha256"], *kept, full}
    offered = conflicts.drop_duplicates("sha256").set_index("sha256")["offered"]
    reasons = aside.set_index("sha256")["reason"]
    status = {  # the last that holds counts
        **dict.fromkeys(of_cluster.loc[of_cluster["kept"].notna(), "sha256"], label_resolution.DUPLICATE),
        **dict.fromkeys(reasons.index, label_resolution.SET_ASIDE),
        **dict.fromkeys(offered.index, label_resolution.CONFLICT),
        **dict.fromkeys(kept, label_resolution.KEPT),
    }
    matches = of_cluster.set_index("sha256")[["representative", "distance", "how", "score"]]
    listed = catalog[catalog["sha256"].isin(members)]
    about: dict[str, dict[Any, Any]] = {str(row["sha256"]): row for row in listed.to_dict("records")}
    exact = copies[(copies["kind"] == "exact") & (copies["sha256"] == full)]
    return {
        "sha256": full,
        "cluster": cluster,
        "set_aside": reasons.get(full),
        "files_with_the_same_bytes": exact["origin"].tolist(),
        "members": [
            {
                "sha256": name,
                "labels": list(about[name]["labels"]),
                "width": int(about[name]["width"]),
                "height": int(about[name]["height"]),
                "status": status.get(name, label_resolution.DROPPED),
                "offered": str(offered.get(name, "")),
                "matched": _match(name, matches),
            }
            for name in sorted(members, key=lambda name: (name != full, name))
        ],
    }


def _cluster(sha256: str, tables_of: tuple[pd.DataFrame, ...]) -> str:
    for table in tables_of:
        found = table.loc[table["sha256"] == sha256, "cluster"]
        if len(found):
            return str(found.iloc[0])
    return sha256


def _match(sha256: str, matches: pd.DataFrame) -> dict[str, Any] | None:
    if sha256 not in matches.index:
        return None
    match: dict[Any, Any] = matches.loc[sha256].to_dict()
    return {key: value.item() if hasattr(value, "item") else value for key, value in match.items()}


def by_beginning(digests: pd.Series, beginning: str, none: str) -> str:
    """Return the one sha256 that begins like this, in any case.

    Raises:
        UserError: `none`, where there is none; or several do.

    """
    matches = sorted(digests[digests.str.startswith(beginning.lower())].unique())
    if len(matches) == 1:
        return str(matches[0])
    if not matches:
        raise UserError(none)
    raise UserError(f"{len(matches)} pictures begin with {beginning}: {', '.join(matches[:3])}... Type more of it.")


def describe(found: dict[str, Any]) -> list[str]:
    """Return `collect`'s document as lines for a terminal."""
    members = found["members"]
    lines = [f"{found['sha256']}: {_line(members[0])}"]
    if found["set_aside"]:
        lines.append(f"  set aside, {found['set_aside']}; a decision on it in {paths.DECISIONS} brings it back")
    files = found["files_with_the_same_bytes"]
    if files:
        shown = ", ".join(map(repr, files[:5])) + (f" and {len(files) - 5} more" if len(files) > 5 else "")
        lines.append(f"  {len(files)} more files have the same bytes: {shown}")
    if len(members) > 1:
        lines.append(f"  one picture with {len(members) - 1} others (cluster {found['cluster']}):")
        lines += [f"    {member['sha256']}  {_line(member)}" for member in members[1 : _MOST + 1]]
        lines += [f"    and {len(members) - 1 - _MOST} more"] * (len(members) - 1 > _MOST)
    return lines


def _line(member: dict[str, Any]) -> str:
    text = f"{member['status']}, {', '.join(member['labels'])}, {member['width']} x {member['height']}"
    match = member["matched"]
    if match and match["representative"] != member["sha256"]:
        text += f"; with {match['representative'][:12]}: {messages.matched(match | {'sha256': member['sha256']})}"
    return text + (f"; offered {member['offered']}" if member["offered"] else "")
