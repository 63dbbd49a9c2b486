"""Finding duplicates compared with other tools: ratios of CPU time, interleaved in one run; recall and false pairs.

    python benchmarks/dedupe.py hash   --pictures DIR --limit 300
    python benchmarks/dedupe.py recall --pictures DIR --truth CSV
    python benchmarks/dedupe.py search --rows 300000
    python benchmarks/dedupe.py exact  --pictures DIR

hash    pictures per CPU second, bytes to fingerprint (24 views), against imagehash's phash (one view, 64 bits), at
        their own size and enlarged to 1280 px; also all work of the catalog, the fingerprint with whole decodes, and
        the lower bound: decoding alone at 1/8.
recall  share of the copies within a distance of their original, by transform, and pairs of two different originals
        within it. CSV has `path` (in DIR), `of` (path of the original, "" for an original), `transform`.
search  pairs within 31 bits among random hashes of 256, a tenth of them planted: the band join against faiss' exact
        IndexBinaryFlat (on one thread; a share of its queries, scaled, since each costs the same), recall, peak memory.
exact   copies of the same bytes: sha256 of every file, as `nsfw ingest` computes it (it is each picture's name), and
        the stage's work on the tables, against the article's tool (Qarj/duplicate-file-finder): sizes, then md5 of the
        files of one size. DIR contains a folder of pictures for each label.
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
from pipeline.duplicates.candidates import Bands, CandidatePairs, search
from pipeline.duplicates.fingerprint import BYTES, VIEWS, fingerprint
from pipeline.images.decode import decode, decode_small
from pipeline.images.limits import Limits

LIMITS = Limits(2**31, 1, 1e9)
LARGE = 1280  # px
DISTANCES = (16, 24, 32, 40, 48, 54, 60, 66, 72, 78)
SHOWN = 24  # nearest pairs of different originals, for a person to look at

Words = npt.NDArray[np.uint64]  # (rows, views, 4)


def catalogue(data: bytes) -> None:
    """Do all that the catalog does with a picture."""
    picture = decode_small(data, LIMITS)
    measure(picture)
    fingerprint(picture.image)


def floor(data: bytes) -> None:
    """Only decode, at the smallest scale and without any check."""
    image = Image.open(io.BytesIO(data))
    image.draft("L", (image.width // 8, image.height // 8))
    image.load()


WAYS: dict[str, Callable[[bytes], object]] = {
    "imagehash phash": lambda data: imagehash.phash(Image.open(io.BytesIO(data))),
    "fingerprint": lambda data: fingerprint(decode_small(data, LIMITS).image),
    "fingerprint, whole decode": lambda data: fingerprint(decode(data, LIMITS).image),
    "catalog": catalogue,
    "decoding at 1/8 alone": floor,
}


def pictures(folder: Path, limit: int) -> list[bytes]:
    """Return `limit` pictures, spread over the folder."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg"})
    return [path.read_bytes() for path in paths[:: max(1, len(paths) // limit)][:limit]]


def enlarge(data: bytes) -> bytes:
    """Return a picture with a longer side of 1280 px, as JPEG."""
    image = decode(data, LIMITS).image
    factor = LARGE / max(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS).save(
        buffer, "JPEG", quality=85
    )
    return buffer.getvalue()


def seconds(contents: Sequence[bytes], rounds: int) -> dict[str, list[float]]:
    """Return each way's CPU seconds per picture, one value a round; the ways alternate on chunks of ten pictures."""
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


def compare_hashing(options: argparse.Namespace) -> dict[str, float]:
    """Print the table of `hash`; return ratios of speed."""
    small = pictures(options.pictures, options.limit)
    rows, ratios = [], {}
    for size, contents in (("as they are", small), (f"{LARGE} px", [enlarge(data) for data in small])):
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
    views = [fingerprint(decode_small((folder / path).read_bytes(), LIMITS).image).hashes for path in paths]
    return np.frombuffer(b"".join(views), np.uint64).reshape(len(views), len(VIEWS), BYTES // 8)


def nearest(ones: Words, others: Words) -> npt.NDArray[np.int64]:
    """Return the distance of each picture of `ones` to the same row of `others` (or of one picture to all of them)."""
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


def measure_recall(options: argparse.Namespace) -> dict[str, float]:
    """Print the tables of `recall`; return the mean recall by distance."""
    with options.truth.open(newline="", encoding="utf-8") as opened:
        truth = list(csv.DictReader(opened))
    paths = [row["path"] for row in truth]
    words, index = hashes(options.pictures, paths), {path: number for number, path in enumerate(paths)}
    copies = [number for number, row in enumerate(truth) if row["transform"] not in {"original", "copy"}]
    apart = nearest(words[copies], words[[index[truth[number]["of"]] for number in copies]])
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
# Planted pairs differ anywhere in the hash, so bands need neither overlap nor prefer low frequencies.
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


def band_join(words: Words) -> CandidatePairs:
    """Search by the band join."""
    return search(words[:, None, :], DISJOINT, PLANTED)


def _peak(rows: int, seed: int, answer: "multiprocessing.Queue[int]") -> None:
    band_join(planted(rows, seed)[0])
    answer.put(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds that all threads of this process spend on `work`."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def compare_search(options: argparse.Namespace) -> dict[str, float]:
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
        ours.append(cpu(lambda: band_join(words)))
    result = band_join(words)
    recall = len(pairs & set(zip(result.left.tolist(), result.right.tolist(), strict=True))) / len(pairs)
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
    print(f"recall of {len(pairs)} planted pairs: {recall:.4f}; pairs found {len(result.left)}; peak memory {peak} MB")
    return ratios | {"recall": round(recall, 4), "peak MB": peak}


def count_by_digest(paths: Sequence[Path]) -> int:
    """Return how many files are copies, by sha256 of each."""
    seen = set()
    for path in paths:
        with path.open("rb") as handle:
            seen.add(hashlib.file_digest(handle, "sha256").digest())
    return len(paths) - len(seen)


def count_by_size(paths: Sequence[Path]) -> int:
    """Return how many files are copies, as the article's tool finds them: by size, then by md5."""
    sizes: defaultdict[int, list[Path]] = defaultdict(list)
    for path in paths:
        sizes[path.stat().st_size].append(path)
    copies = 0
    for same in sizes.values():
        if len(same) > 1:
            copies += len(same) - len({hashlib.md5(path.read_bytes()).digest() for path in same})  # noqa: S324
    return copies


def count_by_table(digests: pd.Series) -> int:
    """Return the same from the digests that ingest recorded, as the stage does."""
    return int(digests.duplicated().sum())


def compare_exact(options: argparse.Namespace) -> dict[str, float]:
    """Print the table of `exact`; return ratios of CPU time."""
    paths = sorted(path for path in options.pictures.rglob("*") if path.is_file())
    digests = pd.Series([hashlib.sha256(file.read_bytes()).hexdigest() for file in paths])
    ways: dict[str, Callable[[], int]] = {
        "sizes, then md5 (the article's tool)": lambda: count_by_size(paths),
        "sha256 of every file (ingest)": lambda: count_by_digest(paths),
        "the table of digests (the stage)": lambda: count_by_table(digests),
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
    print(f"{len(paths)} files, {sum(file.stat().st_size for file in paths) // 2**20} MiB")
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
    part.set_defaults(measure=compare_hashing)
    part = parts.add_parser("recall")
    part.add_argument("--pictures", type=Path, required=True)
    part.add_argument("--truth", type=Path, required=True)
    part.set_defaults(measure=measure_recall)
    part = parts.add_parser("search")
    part.add_argument("--rows", type=int, default=300_000)
    part.add_argument("--rounds", type=int, default=5)
    part.add_argument("--seed", type=int, default=1)
    part.set_defaults(measure=compare_search)
    part = parts.add_parser("exact")
    part.add_argument("--pictures", type=Path, required=True)
    part.add_argument("--rounds", type=int, default=7)
    part.set_defaults(measure=compare_exact)
    options = parser.parse_args()
    print(json.dumps(options.measure(options)))


if __name__ == "__main__":
    main()
