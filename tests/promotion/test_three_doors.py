"""The same bytes through `nsfw score`, the MLflow model and HTTP: the same numbers, whatever form they come in."""

import os
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest

from pipeline.batch_scoring import scoring
from pipeline.registry.loading import open_model
from pipeline.sample.variants import BROKEN, UNUSUAL, encode
from tests.support.registered_models import model_bytes
from tests.support.served import one, ready, served
from tests.support.versions import NAMES

__all__ = ["model_bytes", "one"]  # fixtures

NUMBERS = [*NAMES, "unsafe"]
FRAMES = ["frames", "frames_scored", "deciding_frame"]


def contents() -> list[bytes]:
    """Pictures in every unusual form, and every broken kind."""
    from PIL import Image

    pictures = []
    for seed, (_, make) in enumerate(UNUSUAL.values()):
        rng = np.random.default_rng(seed)
        small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        pictures.append(make(small.resize((160, 120), Image.Resampling.BICUBIC)))
    sound = encode(Image.linear_gradient("L").convert("RGB"), quality=85)
    return pictures + [make(sound, np.random.default_rng(0)) for _, make in BROKEN.values()]


def animations() -> list[bytes]:
    """A picture behind a white frame of 10 ms, as GIF, WEBP and APNG; behind an APNG's default image; alone."""
    from PIL import Image

    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((160, 120))
    white = Image.new("RGB", picture.size, "white")
    behind = {"save_all": True, "append_images": [picture]}
    moving = [encode(white, kind, duration=[10, 1000], **behind) for kind in ("GIF", "WEBP", "PNG")]
    hidden = {"save_all": True, "append_images": [picture, picture.rotate(180)], "default_image": True}
    return [*moving, encode(white, "PNG", duration=100, **hidden), encode(picture, "PNG")]


def filled(decisions: pd.Series) -> list[str]:
    """Decisions, "" where there is none."""
    return ["" if pd.isna(value) else value for value in decisions]


def by_score(params, folder: Path, out: Path) -> pd.DataFrame:
    """`nsfw score`'s rows, one a file, in the files' order."""
    scoring.score(open_model(params), params, scoring.Job((os.fsencode(folder),), out))
    return pd.read_parquet(out).rename(columns={f"p_{name}": name for name in NAMES})


def by_http(pictures: list[bytes], tmp_path: Path) -> pd.DataFrame:
    """The service's answers, asked seven at a time."""
    with served(tmp_path) as service:
        ready(service)
        rows = []
        for start in range(0, len(pictures), 7):
            files = [("i", ("a", content)) for content in pictures[start : start + 7]]
            answer = httpx.post(f"{service.url}/v1/classify", files=files, timeout=60)
            assert answer.status_code in {200, 422}
            body = answer.json()
            rows += body["pictures"]
    frame = pd.DataFrame([row["probabilities"] or {} for row in rows], columns=list(NAMES))
    errors = [row["error"]["code"] if row["error"] else "" for row in rows]
    return frame.assign(
        **{key: [row[key] for row in rows] for key in ("unsafe", "threshold", "decision", *FRAMES)}, error=errors
    )


@pytest.mark.slow
def test_the_doors_agree_on_every_form_and_on_what_is_broken(one, tmp_path):
    moving = animations()
    pictures = [*contents(), *moving]
    folder = tmp_path / "in"
    folder.mkdir()
    for number, content in enumerate(pictures):
        (folder / f"{number:03}.bin").write_bytes(content)
    scored = by_score(one, folder, tmp_path / "out.parquet")
    mlflowed = mlflow.pyfunc.load_model("models:/nsfw@production").predict(pd.DataFrame({"image": pictures}))
    served_ = by_http(pictures, tmp_path)
    codes = [error.partition(":")[0] for error in scored["error"]]
    assert codes[: len(UNUSUAL)] == [""] * len(UNUSUAL)
    assert codes[-len(moving) :] == [""] * len(moving)
    assert "" not in codes[len(UNUSUAL) : -len(moving)]
    assert [error.partition(":")[0] for error in mlflowed["error"]] == codes
    assert served_["error"].tolist() == codes
    for other in (mlflowed, served_):
        np.testing.assert_allclose(
            other[NUMBERS].astype(float).to_numpy(), scored[NUMBERS].astype(float).to_numpy(), atol=1e-5
        )
        assert filled(other["decision"]) == filled(scored["decision"])
        np.testing.assert_array_equal(other[FRAMES].astype(float).to_numpy(), scored[FRAMES].astype(float).to_numpy())
        assert other["threshold"].dropna().unique().tolist() == [0.4]
    assert scored["unsafe"].std() > 0.001  # they are not all alike: an order that was mixed up would show
    shown = scored.iloc[-len(moving) :].reset_index(drop=True)
    assert shown["frames"].tolist() == shown["frames_scored"].tolist() == [2, 2, 2, 2, 1]
    alone = shown["unsafe"].iloc[-1]
    assert (shown["unsafe"].iloc[:3] >= alone - 0.02).all()  # a GIF's palette and lossy WEBP move it a little
    assert shown["unsafe"].iloc[3] >= alone - 1e-6
