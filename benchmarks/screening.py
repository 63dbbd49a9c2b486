"""What screening costs beside catalog, for each picture: by a PDQ list of a realistic size, and by the package pdqhash.

Run     python benchmarks/screening.py DIR [--entries 100000] [--pictures 1000]
Expect  on photographs of 256 x 320 px a ratio of 1.6 to 1.9 (catalog with screening to catalog alone); a quarter of
        catalog is the second decoding, which ingest does before anything is stored. pdqhash, without a search: 2.1.

CPU time of one process, in batches by turns: catalog's decoding, quality and fingerprint; the same and screening
(digests, decoding at PDQ's scale, hashes, search); the same and what pdqhash makes of the decoded picture.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pdqhash

from pipeline.catalog.measure import measure
from pipeline.duplicates.fingerprint import fingerprint
from pipeline.images.decode import decode, decode_small
from pipeline.images.sandbox import WorkerLimits
from pipeline.params.root import load_params
from pipeline.params.screens import ScreenList
from pipeline.params.screens import Screens as Settings
from pipeline.screening.hashing import Hasher
from pipeline.screening.lists import HashList
from pipeline.screening.screens import Screens

BATCH = 50


def opened(entries: int) -> Screens:
    """Screens with one list of random hashes."""
    params = load_params()
    hashes = np.random.default_rng(1).bytes(32 * entries)
    digests = frozenset(hashes[at : at + 32] for at in range(0, len(hashes), 32))
    one = ScreenList(name="random", file="-", kind="pdq")
    settings = Settings.model_validate(params.ingest.screens.model_dump() | {"contact": "nobody", "lists": [one]})
    cost = WorkerLimits(20.0, 1024)
    return Screens(settings, [HashList("random", "pdq", digests)], Hasher.of(params.catalog), cost, patient=True)


def catalogued(data: bytes) -> None:
    """What catalog does with a picture."""
    picture = decode_small(data)
    measure(picture)
    fingerprint(picture.image)


def timed(contents: list[bytes], acts: dict[str, Callable[[bytes], object]]) -> Iterator[tuple[str, float]]:
    """Yield the CPU seconds of each act on each batch, by turns."""
    for start in range(0, len(contents), BATCH):
        batch = contents[start : start + BATCH]
        for name, act in acts.items():
            begun = time.process_time()
            for data in batch:
                act(data)
            yield name, time.process_time() - begun


def main() -> None:
    """Print a table, and last a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=1_000)
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    contents = [path.read_bytes() for path in files[: arguments.pictures]]
    screens = opened(arguments.entries)

    def screened(data: bytes) -> None:
        screens.judge(data, screens.exact(data), screens.hasher.of_bytes(data))

    acts: dict[str, Callable[[bytes], object]] = {
        "catalog": catalogued,
        "screening": screened,
        "  of that decoding": lambda data: decode_luma_alone(screens.hasher, data),
        "decode + pdqhash": lambda data: pdqhash.compute(np.asarray(decode(data).image)),
    }
    for act in acts.values():  # imports, and matrices of the common sizes
        act(contents[0])
    seconds: defaultdict[str, float] = defaultdict(float)
    for name, spent in timed(contents, acts):
        seconds[name] += spent
    print(f"{len(contents)} pictures, {arguments.entries} entries; CPU ms a picture, and its share of catalog's")
    for name, spent in seconds.items():
        print(f"{name:<20} {1000 * spent / len(contents):7.3f}  {spent / seconds['catalog']:6.2f}")
    with_screening = 1 + seconds["screening"] / seconds["catalog"]
    hashing = 1 + (seconds["screening"] - seconds["  of that decoding"]) / seconds["catalog"]
    print(
        json.dumps(
            {
                "catalog_with_screening_to_catalog": round(with_screening, 3),
                "the_same_without_its_decoding": round(hashing, 3),
                "catalog_with_pdqhash_to_catalog": round(1 + seconds["decode + pdqhash"] / seconds["catalog"], 3),
            }
        )
    )


def decode_luma_alone(hasher: Hasher, data: bytes) -> None:
    """Decode as screening does, and hash nothing."""
    from pipeline.images.luma import decode_luma
    from pipeline.screening.pdq import SIDE

    decode_luma(data, lambda image: image.size, SIDE, hasher.limits)


if __name__ == "__main__":
    main()
