"""Near copies end to end, as `catalog` and `dedupe` find them: recall by transform, and which originals were joined.

    python benchmarks/near.py --pictures DIR --truth CSV [--set advanced.candidate_distance=80 ...] [--sheet PNG]

DIR and CSV (`path` in DIR, `of`, `transform`) are those that make_near.py or `benchmarks/screenshots.py` write. Every
pair of a copy and its original that ends in one cluster counts as recalled. Pairs of different originals in one cluster
are listed, and drawn in PNG for inspection. `--set` sets a key of `dedupe`; `--turned` adds a number
of originals turned by 90, 180 and 270 degrees and flipped, as JPEG.
"""

import argparse
import csv
import hashlib
import io
import itertools
import json
import random
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image, ImageDraw

from pipeline.catalog import fingerprint_table
from pipeline.catalog.measure import ROW, measure_shard
from pipeline.core import executor
from pipeline.data import shards
from pipeline.duplicates import clustering, fingerprint_store
from pipeline.duplicates.full_resolution import PairInspector
from pipeline.images import sandbox
from pipeline.images.limits import Limits
from pipeline.params.dedupe import Dedupe
from pipeline.params.root import load_params

TURNED = {
    "turned_90": Image.Transpose.ROTATE_90,
    "turned_180": Image.Transpose.ROTATE_180,
    "turned_270": Image.Transpose.ROTATE_270,
    "flipped": Image.Transpose.FLIP_TOP_BOTTOM,
}
SHOWN = 180  # px of a picture on the sheet

Row = dict[str, str]  # path, of, transform, and `sha256`


def turned_files(rows: Sequence[Row], folder: Path, number: int, seed: int) -> Iterable[tuple[Row, bytes]]:
    """Yield TURNED of `number` originals, as JPEG."""
    rng = random.Random(seed)  # noqa: S311 -- which pictures, not a secret
    originals = [row for row in rows if row["transform"] == "original"]
    for row in rng.sample(originals, min(number, len(originals))):
        for name, how in TURNED.items():
            buffer = io.BytesIO()
            Image.open(folder / row["path"]).convert("RGB").transpose(how).save(buffer, "JPEG", quality=85)
            yield {"path": f"{name}/{row['path']}", "of": row["path"], "transform": name}, buffer.getvalue()


def measure_catalog(
    contents: dict[str, bytes], folder: Path, limits: Limits, cost: sandbox.WorkerLimits
) -> pd.DataFrame:
    """Store contents as shards, and measure them; the fingerprints go to `folder`/fingerprints.parquet."""
    ordered = sorted(contents)
    for number, start in enumerate(range(0, len(ordered), 1000)):
        some = ordered[start : start + 1000]
        shards.write(folder / f"{number:04d}.tar", ((name, ".jpg", contents[name]) for name in some))
    rows = [row for shard in sorted(folder.glob("*.tar")) for row in measure_shard(limits, cost, shard)]
    table = pd.DataFrame(rows, columns=list(ROW))
    refused = table[table["reason"] != ""]
    if len(refused):
        raise SystemExit(f"{len(refused)} pictures do not decode: {refused['reason'].iloc[0]}")
    arrow = pa.Table.from_pandas(table[fingerprint_table.SCHEMA.names], preserve_index=False)
    pq.write_table(arrow.cast(fingerprint_table.SCHEMA), folder / "fingerprints.parquet")
    return table.drop(columns=["hashes", "thumbnail"]).sort_values("sha256", ignore_index=True)


def cluster_contents(contents: dict[str, bytes], params: Dedupe) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the clusters of `dedupe` for each content, by sha256, and the counts of its work."""
    with tempfile.TemporaryDirectory() as name:
        folder, whole = Path(name), load_params().catalog
        limits = Limits(**whole.limits)
        cost = sandbox.WorkerLimits(whole.seconds, whole.memory_mb, executor.cores())
        catalog = measure_catalog(contents, folder, limits, cost).assign(first_seen="2026-01-01")
        catalog["labels"] = [("any",)] * len(catalog)
        arrival = pd.Series("batch", index=catalog["sha256"])
        catalog = catalog.join(clustering.ranks(catalog, arrival, params))
        files_of = pd.Series(1, index=catalog["sha256"])
        inspector = PairInspector(folder, limits, cost)
        clusters, counts = clustering.cluster(
            catalog, fingerprint_store.load(folder / "fingerprints.parquet"), files_of, params, inspector, set()
        )
    return clusters.set_index("sha256"), counts


def sheet(pairs: Sequence[tuple[Row, Row]], contents: dict[str, bytes], path: Path) -> None:
    """Draw the pairs side by side, eight a row, with their number."""
    across, step = 8, 2 * SHOWN + 20
    page = Image.new("RGB", (across * step, max(1, -(-len(pairs) // across)) * (SHOWN + 24)), "grey")
    draw = ImageDraw.Draw(page)
    for number, pair in enumerate(pairs):
        x, y = number % across * step, number // across * (SHOWN + 24)
        draw.text((x + 4, y + 4), f"{number}: {pair[0]['path']} {pair[1]['path']}", fill="white")
        for side, row in enumerate(pair):
            picture = Image.open(io.BytesIO(contents[row["sha256"]])).convert("RGB")
            picture.thumbnail((SHOWN, SHOWN))
            page.paste(picture, (x + side * (SHOWN + 4), y + 20))
    page.save(path)


def joined_originals(rows: Sequence[Row], cluster: pd.Series) -> list[tuple[Row, Row]]:
    """Return the pairs of different originals that are in one cluster."""
    by: dict[str, list[Row]] = {}
    for row in rows:
        if row["transform"] == "original":
            by.setdefault(str(cluster[row["sha256"]]), []).append(row)
    pairs = (pair for same in by.values() for pair in itertools.combinations(same, 2))
    return [pair for pair in pairs if pair[0]["sha256"] != pair[1]["sha256"]]


def main() -> None:
    """Measure one set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--turned", type=int, default=0, help="number of originals to add, each in four positions")
    parser.add_argument("--seed", type=int, default=1, help="which originals are turned")
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    with options.truth.open(newline="", encoding="utf-8") as opened:
        rows: list[Row] = list(csv.DictReader(opened))
    files = [(row, (options.pictures / row["path"]).read_bytes()) for row in rows]
    files += turned_files(rows, options.pictures, options.turned, options.seed)
    contents = {}
    for row, data in files:
        row["sha256"] = hashlib.sha256(data).hexdigest()
        contents[row["sha256"]] = data
    rows = [row for row, _ in files]
    document = load_params().dedupe.model_dump()
    for key, value in (change.split("=", 1) for change in options.changes):
        section = document["advanced"] if key.startswith("advanced.") else document
        section[key.removeprefix("advanced.")] = yaml.safe_load(value)
    params = Dedupe.model_validate(document)
    clusters, counts = cluster_contents(contents, params)
    of = {row["path"]: row["sha256"] for row in rows}
    copies = [row for row in rows if row["of"]]
    same = [clusters["cluster"][row["sha256"]] == clusters["cluster"][of[row["of"]]] for row in copies]
    table = pd.DataFrame({"transform": [row["transform"] for row in copies], "recall": same})
    recall = (100 * table.groupby("transform")["recall"].mean()).round(2)
    pairs = joined_originals(rows, clusters["cluster"])
    for number, (one, other) in enumerate(pairs):
        print("joined", number, one["path"], other["path"])
    if options.sheet and pairs:
        sheet(pairs, contents, options.sheet)
    missed = [(row["path"], row["of"]) for row, fine in zip(copies, same, strict=True) if not fine]
    print("missed", json.dumps(missed))
    print(recall.to_string())
    aside = int((clusters["reason"] != "").sum())
    print(json.dumps({"recall of all": round(float(recall.mean()), 2), "joined originals": len(pairs), "aside": aside}))
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
