"""The bundled sample: a benign scrape drawn from a seed, with the faults of a real one, and the truth about them.

    draw_sample(Path("scrape"), Path("tests/truth.csv"), seed=1)

writes about 1,500 files as OUT/<label>/<name>, and one row of truth for each. Every picture has its own random
stream, keyed by the seed and its index, so it does not depend on how many others are drawn.
"""

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline.core import files
from pipeline.core.errors import UserError
from pipeline.core.tables import write_csv
from pipeline.sample.drawing import DRAW
from pipeline.sample.variants import BROKEN, NEAR, UNUSUAL, encode, near_copy, placeholder

LABELS = tuple(DRAW)
SHARES = {"drawings": 0.21, "hentai": 0.16, "neutral": 0.24, "porn": 0.20, "sexy": 0.19}  # a scrape is never even
COPIES, NEAR_COPIES, MISLABELLED = 0.04, 0.08, 0.04  # of the drawn pictures
CONFLICTS = 0.15  # of the copies and of the near copies: under another label than their source
UNUSUAL_EACH, PLACEHOLDERS_EACH = 2, 3  # files a format; files a label
SMALLEST = 25  # pictures; with fewer, some share above would round to nothing


@dataclass(frozen=True)
class Truth:
    """A file and the truth about it. `of` is the path of a copy's source; `true_label` is "" if there is none."""

    path: str
    kind: str
    of: str
    label: str
    true_label: str
    transform: str


def draw_sample(out: Path, truth: Path, *, seed: int = 1, pictures: int = 1300) -> dict[str, int]:
    """Draw the sample into `out`/<label>/<name> and its ground truth into the csv `truth`.

    The same arguments give the same bytes, names and modification times.

    Args:
        out: a folder that is empty or absent; it is filled whole or not at all.
        truth: its rows are sorted by path, which is relative to `out` and written with `/`. The column kind holds
            original, copy, near, mislabelled, placeholder, unusual or broken.
        seed: 0 or more.
        pictures: how many different pictures to draw (original and mislabelled together), 25 or more; copies and
            near copies come on top in proportion, the other kinds in fixed numbers.

    Returns:
        The number of files of each kind.

    Raises:
        UserError: `out` is not an empty folder, or `seed` or `pictures` is too small.

    """
    _check(out, seed, pictures)
    instant = 1_750_000_000 + seed % 10_000_000  # ingest reads a file's time as the time when it was fetched
    rows: list[Truth] = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent) as parent:
        folder = Path(parent) / "sample"
        for label in LABELS:
            (folder / label).mkdir(parents=True)
        for row, data in tqdm(_scrape(seed, pictures), desc="drawing", unit=" files", disable=None):
            (folder / row.path).write_bytes(data)
            os.utime(folder / row.path, (instant, instant))
            rows.append(row)
        folder.replace(out)
    write_csv(pd.DataFrame(rows).sort_values("path"), truth)
    return dict(sorted(Counter(row.kind for row in rows).items()))


def _check(out: Path, seed: int, pictures: int) -> None:
    if seed < 0:
        raise UserError(f"seed is {seed}; it must be 0 or more")
    if pictures < SMALLEST:
        raise UserError(f"pictures is {pictures}; it must be {SMALLEST} or more")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder. Name one that is empty or does not exist yet.")


def _scrape(seed: int, pictures: int) -> Iterator[tuple[Truth, bytes]]:
    drawn = []
    for row, data in _originals(seed, pictures):
        yield row, data
        if row.kind == "original":  # a mislabelled picture has no copies, so that in a conflict one label is right
            drawn.append((row, data))
    yield from _copies(seed, drawn, round(COPIES * pictures))
    yield from _near_copies(seed, drawn, round(NEAR_COPIES * pictures))
    yield from _unusual(seed)
    yield from _placeholders(seed)
    yield from _broken(seed, drawn)


def draw_one(out: Path, *, seed: int = 1) -> str:
    """Draw a picture that is not in the sample into the JPEG file `out`; return its label, an unsafe one."""
    label = "porn"
    with files.atomic(out) as temporary:
        temporary.write_bytes(encode(DRAW[label](_rng(seed, "one")), quality=90))
    return label


def _originals(seed: int, pictures: int) -> Iterator[tuple[Truth, bytes]]:
    edges = np.rint(np.cumsum([0.0, *(SHARES[label] for label in LABELS)]) * pictures).astype(int)
    planned = [(label, index) for label, count in zip(LABELS, np.diff(edges), strict=True) for index in range(count)]
    plan = _rng(seed, "plan")
    wrong = set(plan.choice(len(planned), round(MISLABELLED * pictures), replace=False).tolist())
    for position, (true_label, index) in enumerate(planned):
        rng = _rng(seed, "original", true_label, index)
        data = encode(DRAW[true_label](rng), quality=int(rng.integers(80, 93)))
        label = _other(plan, true_label) if position in wrong else true_label
        kind = "mislabelled" if position in wrong else "original"
        yield _truth(seed, kind, true_label, index, label=label, true_label=true_label), data


def _copies(seed: int, drawn: list[tuple[Truth, bytes]], count: int) -> Iterator[tuple[Truth, bytes]]:
    for number, (source, data), label in _sources(seed, "copy", drawn, count):
        yield _truth(seed, "copy", number, label=label, true_label=source.true_label, of=source.path), data


def _near_copies(seed: int, drawn: list[tuple[Truth, bytes]], count: int) -> Iterator[tuple[Truth, bytes]]:
    for number, (source, data), label in _sources(seed, "near", drawn, count):
        transform = NEAR[number % len(NEAR)]
        yield (
            _truth(
                seed, "near", number, label=label, true_label=source.true_label, of=source.path, transform=transform
            ),
            near_copy(data, transform, _rng(seed, "near", number)),
        )


def _sources(
    seed: int, kind: str, drawn: list[tuple[Truth, bytes]], count: int
) -> Iterator[tuple[int, tuple[Truth, bytes], str]]:
    """Yield a running number, a source and the label of its copy, for `count` different sources."""
    plan = _rng(seed, "sources", kind)
    conflicts = set(plan.choice(count, round(CONFLICTS * count), replace=False).tolist())
    for number, chosen in enumerate(plan.choice(len(drawn), count, replace=False)):
        label = drawn[chosen][0].label
        yield number, drawn[chosen], _other(plan, label) if number in conflicts else label


def _unusual(seed: int) -> Iterator[tuple[Truth, bytes]]:
    """Yield `UNUSUAL_EACH` pictures of every unusual format, under labels in turn."""
    for number, (transform, (ending, encoded)) in enumerate(UNUSUAL.items()):
        for turn in range(UNUSUAL_EACH):
            label = LABELS[(number + 2 * turn) % len(LABELS)]
            image = DRAW[label](_rng(seed, "unusual", transform, turn))
            row = _truth(
                seed, "unusual", transform, turn, label=label, true_label=label, ending=ending, transform=transform
            )
            yield row, encoded(image)


def _placeholders(seed: int) -> Iterator[tuple[Truth, bytes]]:
    for label in LABELS:
        for turn in range(PLACEHOLDERS_EACH):
            quality = int(_rng(seed, "placeholder", label, turn).integers(60, 96))
            row = _truth(seed, "placeholder", turn, label=label, transform=f"quality {quality}")
            yield row, placeholder(quality)


def _broken(seed: int, drawn: list[tuple[Truth, bytes]]) -> Iterator[tuple[Truth, bytes]]:
    for label in LABELS:
        for transform, (ending, spoil) in BROKEN.items():
            rng = _rng(seed, "broken", label, transform)
            data = spoil(drawn[rng.integers(len(drawn))][1], rng)
            yield _truth(seed, "broken", transform, label=label, ending=ending, transform=transform), data


def _truth(
    seed: int,
    kind: str,
    *key: str | int,
    label: str,
    true_label: str = "",
    ending: str = ".jpg",
    of: str = "",
    transform: str = "",
) -> Truth:
    """Return a file's row. Its name is a digest, which reveals nothing, unless `ending` is a whole name."""
    stem = "" if ending[:1] not in {"", "."} else _digest(seed, "name", kind, label, *key).hex()[:10]
    return Truth(f"{label}/{stem}{ending}", kind, of, label, true_label, transform)


def _other(rng: np.random.Generator, label: str) -> str:
    return str(rng.choice([other for other in LABELS if other != label]))


def _rng(seed: int, *key: str | int) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(_digest(seed, *key)))


def _digest(*key: str | int) -> bytes:
    return hashlib.sha256("/".join(map(str, key)).encode()).digest()
