"""Whether an unsafe frame decides about its animation, and what an animation costs compared with a still.

    python -P benchmarks/animations.py STILLS [--model production] [--animations 200] [--seed 1] [--rounds 3]

STILLS is any folder of pictures; run it in a project whose model says both "safe" and "unsafe" of some of them (after
`make run`, for example, `nsfw sample`'s own files). Each animation (GIF, WEBP, APNG, AVIF in turn; 2 to 30 frames) has
one frame that the model calls unsafe as a still, at a random place, shown for a fifth to a half of the time; the others
are safe ones. Every round scores the animations and as many stills of the same formats and size, in turn.

`caught`: the animation gets the unsafe frame's decision. `first frame`, the peer: what its first frame alone would get.
`cost`: time of the animations divided by that of the stills, medians; it should be catalog.max_frames at most.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from pipeline.batch_scoring import scoring
from pipeline.params.root import Params, load_params
from pipeline.registry.loading import open_model
from pipeline.registry.verification import OpenedModel

KINDS = {"GIF": {}, "WEBP": {"quality": 90}, "PNG": {}, "AVIF": {"quality": 90, "speed": 10}}
SIZE = (320, 240)


def score(model: OpenedModel, params: Params, folder: Path, out: Path) -> tuple[pd.DataFrame, float]:
    """Return the rows of a folder, in the order of its names, and the seconds that they took."""
    begun = time.perf_counter()
    scoring.score(model, params, scoring.Job((os.fsencode(folder),), out, restart=True))
    return pd.read_parquet(out), time.perf_counter() - begun


def stills(source: Path, target: Path) -> None:
    """Write every picture of `source` at one size."""
    target.mkdir()
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    for number, path in enumerate(files):
        with suppress(OSError, Image.DecompressionBombError), Image.open(path) as image:  # broken ones
            image.convert("RGB").resize(SIZE).save(target / f"{number:05}.png")


def pools(rows: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the stills that are called unsafe, and safe."""
    unsafe, safe = (rows.loc[rows["decision"] == verdict, "path"].tolist() for verdict in ("unsafe", "safe"))
    if len(unsafe) < 5 or len(safe) < 30:
        raise SystemExit(f"{len(unsafe)} stills are called unsafe and {len(safe)} safe: too few to draw from")
    return unsafe, safe


def draw(rng: np.random.Generator, unsafe: list[str], safe: list[str]) -> tuple[list[str], list[int], int]:
    """Return the frames' files, their durations (ms), and which is the unsafe one."""
    count = int(rng.integers(2, 31))
    position = int(rng.integers(count))
    names = [str(name) for name in rng.choice(safe, count)]
    names[position] = str(rng.choice(unsafe))
    durations = rng.integers(20, 200, count)
    share = rng.uniform(0.2, 0.5)
    durations[position] = np.ceil((durations.sum() - durations[position]) * share / (1 - share)) + 1
    return names, [int(duration) for duration in durations], position


def write(
    folder: Path, first: Path, plain: Path, count: int, seed: int, by_verdict: tuple[list[str], list[str]]
) -> None:
    """Write the animations, their first frames alone, and as many stills, each of the animation's format."""
    rng = np.random.default_rng(seed)
    for number in tqdm(range(count), desc="drawing animations"):  # AVIF takes a second each
        kind = list(KINDS)[number % len(KINDS)]
        names, durations, position = draw(rng, *by_verdict)
        images = [Image.open(name).convert("RGB") for name in names]
        ending = f"{number:04}.{kind.lower()}"
        images[0].save(
            folder / ending, kind, save_all=True, append_images=images[1:], duration=durations, **KINDS[kind]
        )
        images[0].save(first / ending, kind, **KINDS[kind])
        images[position].save(plain / ending, kind, **KINDS[kind])


def main() -> None:
    """Draw, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stills", type=Path)
    parser.add_argument("--model", default=None)
    parser.add_argument("--animations", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    params = load_params()
    model = open_model(params, arguments.model)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        stills(arguments.stills, root / "all")
        by_verdict = pools(score(model, params, root / "all", root / "all.parquet")[0])
        folders = [root / name for name in ("animations", "first", "plain")]
        for folder in folders:
            folder.mkdir()
        write(*folders, arguments.animations, arguments.seed, by_verdict)
        rows = [score(model, params, folder, root / f"{folder.name}.parquet")[0] for folder in folders]
        seconds: dict[str, list[float]] = {"animations": [], "plain": []}
        for _ in range(arguments.rounds):
            for name, spent in seconds.items():
                spent.append(score(model, params, root / name, root / f"{name}.parquet")[1])
        kinds = pd.Series([path.rpartition(".")[2] for path in rows[0]["path"]])
        table = pd.DataFrame(
            {
                "animations": kinds.groupby(kinds).size(),
                "caught": (rows[0]["decision"] == "unsafe").groupby(kinds).mean(),
                "first frame": (rows[1]["decision"] == "unsafe").groupby(kinds).mean(),
                "unsafe frame alone": (rows[2]["decision"] == "unsafe").groupby(kinds).mean(),
                "frames": rows[0]["frames"].groupby(kinds).mean(),
                "looked at": rows[0]["frames_scored"].groupby(kinds).mean(),
            }
        )
        cost = statistics.median(seconds["animations"]) / statistics.median(seconds["plain"])
    print(table.round(3).to_string())
    caught = float((rows[0]["decision"] == "unsafe").mean())
    figures = {"caught": caught, "first_frame": float((rows[1]["decision"] == "unsafe").mean()), "cost": cost}
    print(f"cost of an animation: {cost:.2f} stills (limit {params.catalog.max_frames})")
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
