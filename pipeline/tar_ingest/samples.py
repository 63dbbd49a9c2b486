"""The samples of an archive: members that follow each other under one key, as WebDataset has them.

The key is a member's name up to the first dot of its last part: `porn/000.jpg`, `porn/000.txt` and `porn/000.json` are
one sample. Of each only one picture and one json are held at a time.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from pipeline.data import walk
from pipeline.images import tars
from pipeline.images.byte_source import ByteSource, load
from pipeline.images.limits import Rejected
from pipeline.images.tars import Member
from pipeline.tar_ingest.archives import Archive

MAX_JSON = 2**20  # bytes; img2dataset's have a thousand
MAX_TEXT = 2_048  # characters of an origin: a hostile archive may hold a million names of a megabyte
PICTURES = frozenset({"jpg", "jpeg", "jfif", "png", "webp", "gif", "bmp", "avif", "heic", "heif", "tif", "tiff"})
_SHOWN = 5  # endings of other members that a reason names


@dataclass
class Sample:
    """The members of one key; `damage` is why the archive ends with it, in a way that may have cut it short.

    A sample without a key stands for the damaged archive itself.
    """

    key: str
    picture: Member | None = None
    pictures: int = 0
    json: Member | None = None
    endings: list[str] = field(default_factory=list)
    damage: str = ""

    def add(self, member: Member, ending: str) -> None:
        """Take a member; its name ends in `ending`."""
        last = ending.rpartition(".")[2].lower()
        if last in PICTURES:
            self.picture, self.pictures = self.picture or member, self.pictures + 1
        elif last == "json" and self.json is None:
            self.json = member if member.size <= MAX_JSON else member._replace(content=ByteSource())
        if len(self.endings) < _SHOWN:
            self.endings.append(ending[:20])

    @property
    def folder(self) -> str:
        """The folder that its members lie in, "" for none."""
        name = self.key.rpartition("/")[0].rpartition("/")[2]
        return "" if name in {".", ".."} else name

    @property
    def base(self) -> str:
        """Its key without folders: what img2dataset's table calls it."""
        return self.key.rpartition("/")[2]

    @property
    def problem(self) -> str:
        """Why there is no picture to take, `code: detail`, or ""."""
        if self.damage:
            return f"{self.damage}; it ends within this sample or right after it"
        if self.picture is None:
            return f"no_picture: it has {', '.join(f'.{ending}' for ending in self.endings) or 'no members'}"
        if self.pictures > 1:
            return f"several_pictures: {self.pictures} under one key"
        return self.picture.problem

    def about(self) -> tuple[dict[str, Any], str]:
        """Return the keys of its json, and the problem, `code: detail`, if it cannot be read."""
        if self.json is None:
            return {}, "no_json: it has no json member"
        if self.json.problem or self.json.size > MAX_JSON:
            return {}, self.json.problem or f"json_too_large: {self.json.size:,} bytes, more than {MAX_JSON:,}"
        try:
            value = json.loads(load(self.json.content, MAX_JSON))
        except Rejected as rejected:
            return {}, f"broken_json: {rejected}"
        except (ValueError, RecursionError) as error:
            return {}, f"broken_json: {' '.join(str(error).split())[:100]}"
        return (value, "") if isinstance(value, dict) else ({}, "broken_json: it is no object")


def samples(archive: Archive, max_bytes: int, skipped: Counter[str]) -> Iterator[Sample]:
    """Yield an archive's samples in its order; `skipped` counts members that programs leave, such as `._a.jpg`."""
    current: Sample | None = None
    for member in tars.members(archive.path, max_bytes):
        if not member.name:
            if current is not None:
                current.damage = member.problem
                yield current
            yield Sample("", damage=member.problem)
            return
        name = tars.printable(member.name)
        if hidden := _hidden(name):
            skipped[hidden[:MAX_TEXT]] += 1
            continue
        key, ending = _split(name)
        if current is None or current.key != key:
            if current is not None:
                yield current
            current = Sample(key)
        current.add(member, ending)
    if current is not None:
        yield current


def origin_of(url: object, archive: Archive, member: str) -> str:
    """Return a sample's origin: its URL if that is one of the web, else `archive::member`."""
    if isinstance(url, str) and len(url) <= MAX_TEXT and url.isprintable() and " " not in url:
        try:
            parts = urlsplit(url)
            if parts.scheme in {"http", "https"} and parts.hostname and "@" not in parts.netloc:
                return url
        except ValueError:
            pass
    return f"{archive.name}{tars.MEMBER}{member}"[:MAX_TEXT] if member else archive.name


def _split(name: str) -> tuple[str, str]:
    folder, slash, base = name.rpartition("/")
    stem, _, ending = base[1:].partition(".")  # a dot at its beginning is a part of the key
    return f"{folder}{slash}{base[:1]}{stem}", ending


def _hidden(name: str) -> str:
    *folders, base = [part for part in name.split("/") if part not in {"", ".", ".."}] or [""]
    for part in folders:
        if walk.is_hidden(os.fsencode(part), folder=True):
            return part
    return base if walk.is_hidden(os.fsencode(base), folder=False) else ""
