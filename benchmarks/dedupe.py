"""Finding duplicates against what it replaces: ratios of CPU time, interleaved in one run; recall and false pairs.

    python benchmarks/dedupe.py hash   --pictures DIR --limit 300
    python benchmarks/dedupe.py recall --pictures DIR --truth CSV
    python benchmarks/dedupe.py search --rows 300000
    python benchmarks/dedupe.py exact  --pictures DIR

hash    pictures a CPU second, bytes to fingerprint (24 views), against imagehash's phash (one view, 64 bits), as they
        are and enlarged to 1280 px; with it what the catalog does in all, the same with whole decodes, and the floor:
        decoding alone at 1/8.
recall  share of the copies within a distance of their original, by transform, and pairs of two different originals
        within it. CSV has `path` (in DIR), `of` (path of the original, "" for an original), `transform`.
search  pairs within 31 bits among random hashes of 256, a tenth of them planted: the band join against faiss' exact
        IndexBinaryFlat (on one thread; a share of its queries, scaled, since each costs the same), recall, peak memory.
exact   copies of the same bytes: sha256 of every file, as `nsfw ingest` takes it (it is each picture's name anyway),
        and the stage's work on the tables, against the article's tool (Qarj/duplicate-file-finder): sizes, then md5 of
        the files of one size. DIR holds a folder of pictures for each label.
"""

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import resource
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import faiss
import imagehash
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from pipeline.catalog.measure import measure
from pipeline.duplicates.candidates import Bands, Found, search
from pipeline.duplicates.fingerprint import BYTES, VIEWS, fingerprint
from pipeline.images.decode import decode, decode_small
from pipeline.images.limits import Limits

LIMITS = Limits(2**31, 1, 1e9)
LARGE = 1280  # px
DISTANCES = (16, 24, 32, 40, 48, 54, 60, 66, 72, 78)
SHOWN = 24  # nearest pairs of different originals, for a person to look at

Words = npt.NDArray[np.uint64]  # (rows, views, 4)


def catalogued(data: bytes) -> None:
    """All that the catalog does with a picture."""
    picture = decode_small(data, LIMITS)
    measure(picture)
    fingerprint(picture.image)


def floor(data: bytes) -> None:
    """Decode alone, as small as a decoder can, as careless code would."""
    image = Image.open(io.BytesIO(data))
    image.draft("L", (image.width // 8, image.height // 8))
    image.load()


WAYS: dict[str, Callable[[bytes], object]] = {
    "imagehash phash": lambda data: imagehash.phash(Image.open(io.BytesIO(data))),
    "fingerprint": lambda data: fingerprint(decode_small(data, LIMITS).image),
    "fingerprint, whole decode": lambda data: fingerprint(decode(data, LIMITS).image),
    "catalog": catalogued,
    "decoding at 1/8 alone": floor,
}


def pictures(folder: Path, limit: int) -> list[bytes]:
    """Return `limit` pictures, spread over the folder."""
    places = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    return [path.read_bytes() for path in places[:: max(1, len(places) // limit)][:limit]]


def enlarged(data: bytes) -> bytes:
    """Return a picture with a longer side of 1280 px, as JPEG."""
    image = decode(data, LIMITS).image
    factor = LARGE / max(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=85
    )
    return buffer.getvalue()


def seconds(contents: Sequence[bytes], rounds: int) -> dict[str, list[float]]:
    """Return each way's CPU seconds a picture, a value a round; the ways take turns on chunks of ten pictures."""
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    for data in contents[:10]:
        for way in WAYS.values():
            way(data)
    for _ in range(rounds):
        total = dict.fromkeys(WAYS, 0.0)
        for start in range(0, len(contents), 10):
            for name, way in WAYS.items():
                begun = time.process_time()
                for data in contents[start : start + 10]:
                    way(data)
                total[name] += time.process_time() - begun
        for name in WAYS:
            taken[name].append(total[name] / len(contents))
    return taken


def hashing(options: argparse.Namespace) -> dict[str, float]:
    """Print the table of `hash`; return ratios of speed."""
    small = pictures(options.pictures, options.limit)
    rows, ratios = [], {}
    for size, contents in (("as they are", small), (f"{LARGE} px", [enlarged(data) for data in small])):
        taken = seconds(contents, options.rounds)
        for name, values in taken.items():
            by_round = [base / value for base, value in zip(taken["imagehash phash"], values, strict=True)]
            ratio = statistics.median(by_round)
            rows.append({"pictures": size, "way": name, "ms": 1000 * statistics.median(values), "times phash": ratio})
            rows[-1] |= {"lowest": min(by_round), "highest": max(by_round)}
            ratios[f"{name} / phash, {size}"] = round(ratio, 2)
    print(pd.DataFrame(rows).round(2).to_markdown(index=False))
    return ratios


def hashes(folder: Path, paths: Sequence[str]) -> Words:
    """Return every picture's views as 64-bit words."""
    found = [fingerprint(decode_small((folder / path).read_bytes(), LIMITS).image).hashes for path in paths]
    return np.frombuffer(b"".join(found), np.uint64).reshape(len(found), len(VIEWS), BYTES // 8)


def nearest(ones: Words, others: Words) -> npt.NDArray[np.int64]:
    """Return the distance of each picture of `ones` to the one of `others` beside it (or of one to all of them)."""
    least = np.full(max(len(ones), len(others)), BYTES * 8)
    for left, right in ((ones, others), (others, ones)):
        for view in range(2):  # full, trimmed
            apart = np.bitwise_count(left ^ right[:, view : view + 1]).sum(axis=2, dtype=np.int64)
            least = np.minimum(least, apart.min(axis=1))
    return least


def strangers(words: Words) -> Iterator[tuple[int, int, int]]:
    """Yield (distance, one, other) of all pairs of originals within the largest of DISTANCES."""
    for one in range(len(words) - 1):
        apart = nearest(words[one : one + 1], words[one + 1 :])
        for other in np.flatnonzero(apart <= DISTANCES[-1]):
            yield int(apart[other]), one, one + 1 + int(other)


def recalling(options: argparse.Namespace) -> dict[str, float]:
    """Print the tables of `recall`; return the mean recall by distance."""
    with options.truth.open(newline="", encoding="utf-8") as opened:
        truth = list(csv.DictReader(opened))
    paths = [row["path"] for row in truth]
    words, place = hashes(options.pictures, paths), {path: number for number, path in enumerate(paths)}
    copies = [number for number, row in enumerate(truth) if row["transform"] not in {"original", "copy"}]
    apart = nearest(words[copies], words[[place[truth[number]["of"]] for number in copies]])
    by = pd.Series([truth[number]["transform"] for number in copies])
    table = pd.DataFrame({d: 100 * pd.Series(apart <= d).groupby(by).mean() for d in DISTANCES})
    table.loc["mean"] = table.mean()

    originals = [number for number, row in enumerate(truth) if row["transform"] == "original"]
    pairs = sorted(strangers(words[originals]))
    table.loc["pairs of two originals"] = [sum(pair[0] <= d for pair in pairs) for d in DISTANCES]
    print(table.round(1).to_markdown())
    for distance, one, other in pairs[:SHOWN]:
        print(distance, paths[originals[one]], paths[originals[other]])
    return {f"mean recall within {d}, per cent": round(float(table.loc["mean", d]), 2) for d in DISTANCES}


PLANTED = 31  # bits that a planted pair differs by at most
# What is planted differs anywhere in the hash, so bands need not overlap, nor keep to low frequencies.
DISJOINT = Bands(np.arange(256, dtype=np.int64).reshape(16, 16))


def planted(rows: int, seed: int) -> tuple[Words, set[tuple[int, int]]]:
    """Return random hashes, uint64 (rows, 4), and the pairs, a tenth of the rows, that are within PLANTED bits."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**64, (rows, 4), dtype=np.uint64)
    ones, others = rng.choice(rows, (2, rows // 20), replace=False)
    for one, other in zip(ones, others, strict=True):
        bits = np.zeros(256, dtype=np.uint8)
        bits[rng.choice(256, rng.integers(0, PLANTED + 1), replace=False)] = 1
        words[other] = words[one] ^ np.packbits(bits).view(np.uint64)
    return words, {(min(pair), max(pair)) for pair in zip(ones.tolist(), others.tolist(), strict=True)}


def joined(words: Words) -> Found:
    """Search by the band join."""
    return search(words[:, None, :], DISJOINT, PLANTED)


def _peak(rows: int, seed: int, answer: "multiprocessing.Queue[int]") -> None:
    joined(planted(rows, seed)[0])
    answer.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that all threads of this process spend on it."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def searching(options: argparse.Namespace) -> dict[str, float]:
    """Print the table of `search`; return ratios of CPU time."""
    words, pairs = planted(options.rows, options.seed)
    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(256)
    index.add(words.view(np.uint8))
    share = max(1, options.rows // 10)
    ways: dict[str, Callable[[npt.NDArray[np.uint8]], object]] = {
        "faiss, 2 nearest": lambda queries: index.search(queries, 2),
        f"faiss, within {PLANTED} bits": lambda queries: index.range_search(queries, PLANTED + 1),
    }
    ours: list[float] = []
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        queries = words[number % 10 * share :][:share].view(np.uint8)
        for name, way in ways.items():
            taken[name].append(cpu(lambda way=way, queries=queries: way(queries)) * options.rows / len(queries))
        ours.append(cpu(lambda: joined(words)))
    found = joined(words)
    recall = len(pairs & set(zip(found.left.tolist(), found.right.tolist(), strict=True))) / len(pairs)
    answer: multiprocessing.Queue[int] = multiprocessing.get_context("spawn").Queue()
    alone = multiprocessing.get_context("spawn").Process(target=_peak, args=(options.rows, options.seed, answer))
    alone.start()
    peak = answer.get()
    alone.join()
    ratios = {}
    table = [{"way": "band join", "CPU s": statistics.median(ours)}]
    for name, values in taken.items():
        ratios[f"{name} / band join"] = round(statistics.median(a / b for a, b in zip(values, ours, strict=True)), 1)
        table.append({"way": name, "CPU s": statistics.median(values), "times ours": ratios[f"{name} / band join"]})
    print(pd.DataFrame(table).round(2).to_markdown(index=False))
    print(f"recall of {len(pairs)} planted pairs: {recall:.4f}; pairs found {len(found.left)}; peak memory {peak} MB")
    return ratios | {"recall": round(recall, 4), "peak MB": peak}


def by_digest(places: Sequence[Path]) -> int:
    """Return how many files are copies, by sha256 of each."""
    seen = set()
    for place in places:
        with place.open("rb") as handle:
            seen.add(hashlib.file_digest(handle, "sha256").digest())
    return len(places) - len(seen)


def by_size(places: Sequence[Path]) -> int:
    """Return how many files are copies, as the article's tool finds them: by size, then by md5."""
    sizes: defaultdict[int, list[Path]] = defaultdict(list)
    for place in places:
        sizes[place.stat().st_size].append(place)
    copies = 0
    for same in sizes.values():
        if len(same) > 1:
            copies += len(same) - len({hashlib.md5(place.read_bytes()).digest() for place in same})  # noqa: S324
    return copies


def by_table(digests: pd.Series) -> int:
    """Return the same from what ingest wrote down, which is all that the stage asks."""
    return int(digests.duplicated().sum())


def exactly(options: argparse.Namespace) -> dict[str, float]:
    """Print the table of `exact`; return ratios of CPU time."""
    places = sorted(path for path in options.pictures.rglob("*") if path.is_file())
    digests = pd.Series([hashlib.sha256(place.read_bytes()).hexdigest() for place in places])
    ways: dict[str, Callable[[], int]] = {
        "sizes, then md5 (the article's tool)": lambda: by_size(places),
        "sha256 of every file (ingest)": lambda: by_digest(places),
        "the table of digests (the stage)": lambda: by_table(digests),
    }
    counts = {name: way() for name, way in ways.items()}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            taken[name].append(cpu(way))
    (peer, base), *_ = taken.items()
    ratios = {
        f"{name} / {peer}": round(statistics.median(a / b for a, b in zip(values, base, strict=True)), 4)
        for name, values in taken.items()
        if name != peer
    }
    rows = [{"way": name, "CPU s": statistics.median(values), "copies": counts[name]} for name, values in taken.items()]
    print(f"{len(places)} files, {sum(place.stat().st_size for place in places) // 2**20} MiB")
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))
    return ratios


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("hash")
    part.add_argument("--pictures", type=Path, required=True)
    part.add_argument("--limit", type=int, default=300)
    part.add_argument("--rounds", type=int, default=5)
    part.set_defaults(measure=hashing)
    part = parts.add_parser("recall")
    part.add_argument("--pictures", type=Path, required=True)
    part.add_argument("--truth", type=Path, required=True)
    part.set_defaults(measure=recalling)
    part = parts.add_parser("search")
    part.add_argument("--rows", type=int, default=300_000)
    part.add_argument("--rounds", type=int, default=5)
    part.add_argument("--seed", type=int, default=1)
    part.set_defaults(measure=searching)
    part = parts.add_parser("exact")
    part.add_argument("--pictures", type=Path, required=True)
    part.add_argument("--rounds", type=int, default=7)
    part.set_defaults(measure=exactly)
    options = parser.parse_args()
    print(json.dumps(options.measure(options)))


if __name__ == "__main__":
    main()
