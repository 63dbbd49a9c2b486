"""Archives as img2dataset writes them: `<key>.jpg`, `<key>.txt`, `<key>.json` after each other, a table beside."""

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SITE = "https://pictures.example/"


def about(key: str, **more: object) -> bytes:
    """The json of a sample, as img2dataset indents it."""
    known = {"caption": f"about {key}", "url": f"{SITE}{key}", "key": key, "status": "success", "error_message": None}
    return json.dumps(known | more, indent=4).encode()


def sample(key: str, picture: bytes, **more: object) -> dict[str, bytes]:
    """The members of one sample: its picture, its caption, its json."""
    base = key.rpartition("/")[2]
    return {f"{key}.jpg": picture, f"{key}.json": about(base, **more), f"{key}.txt": b"a caption"}


def shard(path: Path, *samples: Mapping[str, bytes], mode: str = "w") -> Path:
    """Write an archive of samples; `mode` as tarfile's, to pack it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in (member for members in samples for member in members.items()):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return path


def table(path: Path, rows: Iterable[tuple[str, str, str | None]], **columns: Iterable[object]) -> Path:
    """Write the table of an archive: (key, status, message), and more columns."""
    keys, statuses, messages = zip(*rows, strict=True)
    names = {"url": [f"{SITE}{key}" for key in keys], "key": keys, "status": statuses, "error_message": messages}
    pq.write_table(pa.table({**names, "width": pa.array([None] * len(keys), pa.int32()), **columns}), path)
    return path
