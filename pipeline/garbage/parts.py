"""What can be deleted and what stays, by kind, and how that is shown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SHOWN = 8
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Item:
    """One thing: its path, or its id in MLflow, its bytes on disk, and what it is where the name does not tell."""

    name: str
    size: int
    what: str = ""


@dataclass(frozen=True)
class Group:
    """Items of one kind, and why they go or stay."""

    kind: str
    reason: str
    items: tuple[Item, ...]

    @property
    def size(self) -> int:
        """The bytes of all items."""
        return sum(item.size for item in self.items)


@dataclass(frozen=True)
class Part:
    """A store that is cleaned by itself: what goes, what stays, warnings, and the problem that stops it ("": none)."""

    name: str
    unused: tuple[Group, ...] = ()
    stays: tuple[Group, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""

    @property
    def count(self) -> int:
        """The number of items that go."""
        return sum(len(group.items) for group in self.unused)

    @property
    def size(self) -> int:
        """The bytes of the items that go."""
        return sum(group.size for group in self.unused)


def of_paths(paths: Sequence[Path]) -> tuple[Item, ...]:
    """Return files and folders as items, sorted."""
    return tuple(Item(shown(path), size_of(path)) for path in sorted(paths))


def shown(path: Path) -> str:
    """Return a path relative to the project, where it lies in that."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def nonempty(groups: Iterable[Group]) -> tuple[Group, ...]:
    """Return the groups that have items."""
    return tuple(group for group in groups if group.items)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder, links not followed; 0 for what is not there."""
    files = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    return sum(file.lstat().st_size for file in files if file.is_symlink() or file.is_file())


def amount(size: int) -> str:
    """Return a number of bytes for a person: `1.5 MB`."""
    value, unit = float(size), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.1f} {_UNITS[unit]}" if unit else f"{size} bytes"


def document(parts: Sequence[Part], *, deleted: bool) -> dict[str, Any]:
    """Return the parts for JSON. `deleted`: whether what is unused was deleted, in parts without a problem."""
    return {
        "deleted": deleted,
        "count": sum(part.count for part in parts),
        "bytes": sum(part.size for part in parts),
        "problems": [part.problem for part in parts if part.problem],
        "parts": [
            {
                "name": part.name,
                "count": part.count,
                "bytes": part.size,
                "unused": [_group(group) for group in part.unused],
                "stays": [_group(group) for group in part.stays],
                "notes": list(part.notes),
                "problem": part.problem,
            }
            for part in parts
        ],
    }


def _group(group: Group) -> dict[str, Any]:
    items = [{"name": item.name, "bytes": item.size, "what": item.what} for item in group.items]
    return {"kind": group.kind, "reason": group.reason, "bytes": group.size, "items": items}


def lines(parts: Sequence[Part], *, deleted: bool) -> list[str]:
    """Return the parts for a terminal; `deleted` as in `document`."""
    text = []
    for part in parts:
        text += _part_lines(part, "deleted" if deleted and not part.problem else "unused")
    done = [part for part in parts if not part.problem]
    count, size = sum(part.count for part in done), amount(sum(part.size for part in done))
    if deleted:
        return [*text, f"deleted {count}, {size}"]
    if not count:
        return [*text, "nothing to delete"]
    return [*text, f"a dry run: {count}, {size} can go; `nsfw data gc --delete` deletes them"]


def _part_lines(part: Part, word: str) -> list[str]:
    text = [f"{part.name}: {part.count} {word}, {amount(part.size)}"]
    for group in part.unused:
        text.append(f"  {word:<8} {len(group.items):>6} {amount(group.size):>10}  {group.kind}: {group.reason}")
        text += [_item_line(item) for item in group.items[:_SHOWN]]
        if len(group.items) > _SHOWN:
            text.append(f"{'':28}and {len(group.items) - _SHOWN} more: see --json")
    for group in part.stays:
        text.append(f"  {'stays':<8} {len(group.items):>6} {amount(group.size):>10}  {group.kind}: {group.reason}")
    text += [f"  note: {note}" for note in part.notes]
    return [*text, f"  STOPPED: {part.problem}"] if part.problem else text


def _item_line(item: Item) -> str:
    what = f"  ({item.what})" if item.what else ""
    return f"{'':28}{item.name}  {amount(item.size)}{what}"
