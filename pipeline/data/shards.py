"""Raw bytes in tar shards: each content once, as `<sha256>.<ext>`, about 1,000 a tar (WebDataset's layout)."""

import hashlib
import io
import re
import tarfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.core import files
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"^([0-9a-f]{64})(\.[a-z0-9]{1,8})?$")


class Member(NamedTuple):
    """Where one content lies: `size` bytes at `offset` of the tar file `shard` (a file name)."""

    sha256: str
    shard: str
    offset: int
    size: int


def members_of(rows: "pd.DataFrame") -> list[Member]:
    """Return where the bytes of each row lie; `rows` has the columns of Member, as build/catalog.parquet does."""
    return [Member(*row) for row in rows[list(Member._fields)].itertuples(index=False, name=None)]


def list_members(shard: Path) -> list[Member]:
    """Return a shard's contents in stored order, from the tar's headers alone.

    Raises:
        UserError: the tar cannot be read to its end, or holds a name that is not `<sha256>.<ext>`.

    """
    members = []
    try:
        with tarfile.open(shard, "r:") as tar:
            for header in tar:
                name = _NAME.match(header.name)
                if not (header.isreg() and name):
                    raise UserError(f"{shard} holds {header.name!r}, which `nsfw ingest` never writes. {_WAY_OUT}")
                members.append(Member(name[1], shard.name, header.offset_data, header.size))
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{shard} is not a readable tar ({error}). {_WAY_OUT}") from None
    return members


def read(folder: Path, member: Member) -> bytes:
    """Return a member's bytes, whose sha256 is its name.

    Raises:
        UserError: the shard does not hold what it says.

    """
    with (folder / member.shard).open("rb") as shard:
        shard.seek(member.offset)
        data = shard.read(member.size)
    if hashlib.sha256(data).hexdigest() != member.sha256:
        raise UserError(f"{folder / member.shard} is damaged: {member.sha256} has other bytes. {_WAY_OUT}")
    return data


def write(shard: Path, contents: Iterable[tuple[str, str, bytes]]) -> None:
    """Write (sha256, extension, bytes) rows as a tar: whole or not at all; equal rows give equal bytes."""
    with files.atomic(shard) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sha256, extension, data in contents:
            header = tarfile.TarInfo(f"{sha256}{extension}")
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))


def drop(shard: Path, contents: Collection[str]) -> None:
    """Rewrite a shard without `contents` (sha256): whole or not at all; delete it where nothing else is in it.

    Raises:
        UserError: the tar cannot be read.

    """
    if all(member.sha256 in contents for member in list_members(shard)):
        shard.unlink()
        return
    with (
        files.atomic(shard) as temporary,
        tarfile.open(shard, "r:") as old,
        tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as new,
    ):
        for header in old:
            if header.name.partition(".")[0] not in contents:
                header_copy = tarfile.TarInfo(header.name)
                header_copy.size = header.size
                new.addfile(header_copy, old.extractfile(header))


_WAY_OUT = "Bring back the versioned one: `dvc checkout --force data.dvc` (or `dvc pull`)."
