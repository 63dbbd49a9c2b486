"""Write every split's pixels once, upright RGB at training size, for tf.data.

Reads   build/splits.parquet, build/catalog.parquet, data/shards/*.tar
Writes  build/packed/{train,val,test,regression}-*.tfrecord, sorted by sha256 (which is as good as shuffled)
Run     dvc repro pack
"""

import logging
from collections.abc import Iterator
from functools import partial

import pandas as pd
from tqdm import tqdm

from pipeline.core import executor, paths, tables
from pipeline.data.shards import Member, members_of
from pipeline.images import packing, sandbox
from pipeline.images.limits import Limits
from pipeline.params.root import Params, load_params

_log = logging.getLogger(__name__)


def plan(splits: pd.DataFrame, catalog: pd.DataFrame, per_file: int) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield each file's name and its rows (`sha256, label, shard, offset, size`), at most `per_file` of one split."""
    rows = splits.merge(catalog, on="sha256", validate="one_to_one").sort_values("sha256")
    for split, part in rows.groupby("split"):
        for number, start in enumerate(range(0, len(part), per_file)):
            yield f"{split}-{number:05d}.tfrecord", part.iloc[start : start + per_file]


def packer_and_limits(params: Params) -> tuple[packing.Packer, sandbox.WorkerLimits]:
    """Return what packs a picture, and its limits in a sandbox worker."""
    limits = Limits(**params.catalog.limits)
    shards = paths.SHARDS.absolute()  # a sandbox worker may have been started in another directory
    packer = packing.Packer(shards, limits, params.backbone.size, params.pack.encoding, params.pack.jpeg_quality)
    return packer, sandbox.WorkerLimits(params.catalog.seconds, params.catalog.memory_mb)


def main() -> None:
    """Pack the splits."""
    from pipeline.training import packed_records

    params = load_params()
    catalog = tables.read_parquet(paths.CATALOG, Member._fields)
    planned = list(plan(tables.read_parquet(paths.SPLITS), catalog, params.pack.pictures_per_file))
    index = {label: number for number, label in enumerate(params.labels.names)}
    packed = executor.map_shards(
        partial(packing.pack_all, *packer_and_limits(params)), (tuple(members_of(rows)) for _, rows in planned)
    )
    bar = tqdm(planned, desc="pack", unit="file", disable=None, leave=False)
    for (name, rows), pictures in zip(bar, packed, strict=True):
        packed_records.write(paths.PACKED / name, zip(rows["sha256"], rows["label"].map(index), pictures, strict=True))
    total = sum(len(rows) for _, rows in planned)
    _log.info("pack: %d pictures of %d px in %d files", total, params.backbone.size, len(planned))
