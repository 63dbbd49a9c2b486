"""An HDF5 file of weights, checked before a value of it is read: it could refer to other files or load libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np

from pipeline.model_import.inspection import check_bytes, refusal

MAGIC = b"\x89HDF\r\n\x1a\n"
NUMBERS = "fiub"
BFLOAT16 = "V"  # HDF5 has no such type: Keras 3 stores it as two opaque bytes
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3  # HDF5's own filters; any other might load a library


@contextmanager
def open_checked(path: Path, handle: IO[bytes], name: str, max_bytes: int, kinds: str = NUMBERS) -> Iterator[Any]:
    """Yield the open h5py.File of `handle`; `name` is what messages call it, `kinds` the accepted kinds of dtype.

    Raises:
        UserError: it is broken, holds a link, values in other files, or something else than numbers, or its values need
            more than `max_bytes` of memory; the message refuses `path`.

    """
    try:
        file = h5py.File(handle, "r")
    except (OSError, ValueError) as error:
        raise refusal(path, f"{name} is cut short or no HDF5 file ({error})") from None
    with file:
        _check(path, file, name, max_bytes, kinds)
        yield file


def arrays(group: Any) -> dict[str, np.ndarray]:
    """Return all floating-point arrays of a checked group by their path in it, as float32.

    Versions of Keras 2 separate the path by backslashes; here it has slashes.
    """
    values: dict[str, np.ndarray] = {}

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            values[name.replace("\\", "/")] = np.asarray(item[()], np.float32)

    group.visititems(visit)
    return values


def _check(path: Path, file: Any, file_name: str, max_bytes: int, kinds: str) -> None:
    groups, seen, total = [file], set(), 0
    while groups:
        group = groups.pop()
        for name in group:
            inside = f"{file_name}'s {group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise refusal(path, f"{inside} is a link, which may lead to any file")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            # A second name for the same object could hide a cycle, or count its bytes twice.
            if address in seen:
                raise refusal(path, f"{inside} is there under another name, too")
            seen.add(address)
            if isinstance(item, h5py.Group):
                groups.append(item)
            else:
                total += _dataset_bytes(path, item, inside, kinds)
                check_bytes(path, total, max_bytes)


def _dataset_bytes(path: Path, item: Any, inside: str, kinds: str) -> int:
    """Return a dataset's size in memory; refuse one that is not an array of numbers stored in this file."""
    if not isinstance(item, h5py.Dataset):
        raise refusal(path, f"{inside} is no array")
    if item.is_virtual or item.external:
        raise refusal(path, f"{inside} has its values in other files")
    if item.dtype.kind not in kinds or item.dtype.hasobject:
        raise refusal(path, f"{inside} holds {item.dtype}, not numbers")
    settings = item.id.get_create_plist()
    filters = {settings.get_filter(i)[0] for i in range(settings.get_nfilters())}
    if filters - {_DEFLATE, _SHUFFLE, _FLETCHER32}:
        raise refusal(path, f"{inside} is compressed by a filter that is not HDF5's own")
    return int(item.size) * int(item.dtype.itemsize)
