"""Public reports to send: drawn pictures with the metadata of a phone, and what a model said of them."""

import hashlib
import io
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from pipeline.core import paths
from pipeline.duplicates.fingerprint import fingerprint
from pipeline.images.decode import decode_small
from pipeline.params.root import Params, load_params
from pipeline.reports import inbox, receiving
from pipeline.reports.receiving import ModelAnswer, Submission
from tests.support.pictures import scrape

SECRET = b"SN-5544332211-of-a-phone"
NORTH, EAST = (52.0, 31.0, 12.34), (13.0, 24.0, 56.78)


def photo(number: int = 1, size: tuple[int, int] = (128, 96), quality: int = 90, orientation: int = 6) -> bytes:
    """A JPEG with EXIF, GPS, a comment and a serial number; stored sideways, as phones do."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = SECRET.decode()
    exif.get_ifd(0x8825).update({1: "N", 2: NORTH, 3: "E", 4: EAST})
    coarse = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    image, buffer = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC), io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, exif=exif, comment=SECRET)
    assert SECRET in buffer.getvalue()
    return buffer.getvalue()


def submission(data: bytes | None = None, *, consent: bool = True, **more: object) -> Submission:
    """What the demo page hands over."""
    data = photo() if data is None else data
    answer: dict = {
        "model": "nsfw",
        "version": "4",
        "scores": {"drawings": 0.1, "hentai": 0.0, "neutral": 0.2, "porn": 0.7, "sexy": 0.0},
        "decision": "unsafe",
        "sha256": hashlib.sha256(data).hexdigest(),
        "hashes": fingerprint(decode_small(data).image).hashes,
    }
    values: dict = {
        "expected_label": "neutral",
        "comment": "my drawing",
        "picture": data if consent else None,
    }
    given = ModelAnswer(**(answer | {name: value for name, value in more.items() if name in answer}))
    return Submission(given, **(values | {name: value for name, value in more.items() if name not in answer}))


def send(params: Params, data: bytes | None = None, address: str = "192.0.2.7", **more: object) -> str:
    """Send a report; return its id."""
    receipt = receiving.receive(submission(data, **more), address, params)
    assert receipt.status == "new", receipt
    return receipt.report


def reported(count: int, comments: Sequence[str]) -> None:
    """So many reports in the inbox, under these comments in turn; three have a picture, the next two are escalated."""
    params = changed_params(burst=50)
    for number in range(min(count, 3)):
        sent = submission(photo(number), comment=comments[number % len(comments)])
        assert receiving.receive(sent, f"192.0.2.{number}", params).status == "new"
    names = ", ".join(inbox.COLUMNS)
    with inbox.connect() as database:
        first = dict(zip(inbox.COLUMNS, database.execute(f"SELECT {names} FROM reports").fetchone(), strict=True))  # noqa: S608
        for number in range(3, count):
            own = first | {"id": f"{number:012x}", "sha256": f"{number:064x}", "picture": "", "hashes": b""}
            own |= {"comment": comments[number % len(comments)], "note": comments[(number + 1) % len(comments)]}
            own["state"] = inbox.ESCALATED if number < 5 else inbox.NEW
            marks = ", ".join("?" * len(own))
            database.execute(f"INSERT INTO reports ({names}) VALUES ({marks})", list(own.values()))  # noqa: S608


def stored() -> list[inbox.Report]:
    """Every report of the inbox."""
    with inbox.connect() as database:
        return inbox.reports(database)


def changed_params(**of_reports: object) -> Params:
    """Change the section reports of params.yaml, and read it."""
    document = yaml.safe_load(paths.PARAMS.read_text(encoding="utf-8"))
    document["reports"] |= of_reports
    paths.PARAMS.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return load_params()


def inbox_bytes() -> bytes:
    """Every byte of every file in the inbox, names too."""
    files = [path for path in paths.INBOX.rglob("*") if path.is_file()]
    return b"\n".join(path.name.encode() + path.read_bytes() for path in files)


@pytest.fixture
def own_dvc(project: Path) -> Path:
    """The project with git and DVC; DVC's own files are inside it."""
    subprocess.run(["git", "init", "-q"], check=True)
    lines = ["[core]", "analytics = false", f"site_cache_dir = {project / 'site'}", '[remote "sample"]', "url = sample"]
    scrape(project, {".dvc/config": "\n".join(lines).encode()})
    return project
