"""A small project with what the review page reads, made without any stage: pictures, tables, embeddings."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import yaml

from pipeline.core import paths, tables
from pipeline.core.files import write_json
from pipeline.data import annotation_files, folder, shards, sightings
from pipeline.data.shards import Member
from pipeline.params.root import Params, load_params
from pipeline.review.store import Store
from pipeline.review.workplace import Workplace
from tests.support import embeddings
from tests.support.pictures import LABELS, draw, encode, scrape

REPOSITORY = Path(__file__).parents[2]
HOSTILE = '<img src=x onerror="window.ran=1">\'"&'


def change(**values: Any) -> Params:
    """Change the `review` section of params.yaml."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["review"] |= values
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_params()


def make(
    pictures: int, *, suspicious: int | None = None, names: Mapping[int, str] | None = None, rows: int = 0
) -> list[str]:
    """Make data/ and the tables for so many pictures; return their sha256 in the order of suspicion.

    Picture 2n is given as porn and looks like sexy, 2n + 1 is neutral and looks like drawings. The first two are near
    copies under two labels: a conflict. `names`: file names of some. `rows`: of further pictures, which the tables
    know and data/ does not have: what many cost, without drawing them.
    """
    rng = np.random.default_rng(3)
    given = {number: "porn" if number % 2 == 0 else "neutral" for number in range(pictures)}
    named = {number: (names or {}).get(number, f"{number}.png") for number in given}
    contents = {f"{given[n]}/{named[n]}": encode(draw(rng), "PNG") for n in given}
    if contents:
        folder.ingest(folder.scan(scrape(Path("raw"), contents), LABELS), paths.DATA, "scrape")
    else:
        folder.prepare(paths.DATA)
    seen = sightings.load(paths.SIGHTINGS).set_index("origin")
    order = [str(seen.loc[name, "sha256"]) for name in contents]
    order += [hashlib.sha256(f"row {number}".encode()).hexdigest() for number in range(rows)]
    labels = ["porn" if number % 2 == 0 else "neutral" for number in range(len(order))]
    write_tables(order, labels, len(order) if suspicious is None else suspicious)
    return order


def write_tables(order: list[str], given: list[str], suspicious: int) -> None:
    members = [member for path in sorted(paths.SHARDS.glob("*.tar")) for member in shards.list_members(path)]
    catalog = pd.DataFrame(members, columns=list(Member._fields)).set_index("sha256").reindex(order).reset_index()
    catalog = catalog.assign(labels=[[label] for label in given])
    catalog = catalog.fillna({"shard": "none.tar"}).fillna(0).astype({"offset": "int64", "size": "int64"})
    tables.write_parquet(catalog, paths.CATALOG)
    split = [("train", "val", "test")[number % 3] for number in range(len(order))]
    splits = pd.DataFrame({"sha256": order, "label": given, "cluster": order, "split": split}, dtype="str")
    tables.write_parquet(splits.iloc[2:], paths.SPLITS)
    two = splits.iloc[:2].assign(cluster="c" * 64, kind="near")
    tables.write_parquet(two[["sha256", "cluster", "kind"]], paths.DUPLICATES)
    tables.write_csv(two.assign(offered="")[["cluster", "sha256", "label", "offered"]], paths.CONFLICTS)
    looks = ["sexy" if label == "porn" else "drawings" for label in given]
    score = np.linspace(0.001, 0.5, len(order)).round(6)
    issues = pd.DataFrame({"sha256": order, "label": given, "suggested": looks, "score": score})
    issues = issues.iloc[2:].head(suspicious).assign(rank=range(1, len(issues.iloc[2:].head(suspicious)) + 1))
    tables.write_csv(issues, paths.LABEL_ISSUES)
    shares = {f"p_{name}": np.full(len(order), 0.05) for name in LABELS}
    answers = pd.DataFrame({"sha256": order, "split": split, "label": given} | shares)
    answers["p_sexy"] = 0.8
    tables.write_parquet(answers, paths.PREDICTIONS)
    write_embeddings(order[2:], [int(label == "neutral") for label in given[2:]])
    write_json({"version": 7, "pending": False}, paths.REGISTERED)


def write_embeddings(order: list[str], labels: list[int]) -> None:
    features = np.random.default_rng(4).normal(size=(2, len(order), 6)).astype(np.float32)
    for number, split in enumerate(("train", "val", "test")):
        part = slice(number, None, 3)
        embeddings.write(paths.EMBEDDINGS / split, features[:, part], order[part], labels[part])


def decided(*rows: tuple[str, str, str]) -> None:
    """Write (sha256, old, new) rows into data/decisions.csv."""
    lines = [",".join(annotation_files.DECISIONS), *(f"{one},{old},{new},ann,,2026-01-02," for one, old, new in rows)]
    paths.DECISIONS.write_text("\n".join(lines) + "\n", encoding="utf-8")


def workplace(params: Params) -> Workplace:
    return Workplace(params, Store(paths.REVIEW))


@contextmanager
def server(*arguments: str, port: int = 0):
    """A real `nsfw review` in the working directory; yields its process and its address."""
    command = [sys.executable, "-m", "tests.support.review_server", *arguments, "--port", str(port)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        assert line.startswith("review: "), line
        yield process, line.split()[1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(url: str, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"no answer at {url}")
