"""`ingest.screens`: the lists and hooks by which pictures are screened, and whom to call when one matches."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.params.section import Count, FromList, Positive, Section

ListKind = Literal["md5", "sha1", "sha256", "pdq"]
MOST_BITS = 31  # of 256: what the index finds, and the distance that PDQ's authors call a confident match

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class ScreenList(Section):
    """A file of hashes of one kind, and the name by which records call it."""

    name: str
    file: _Text
    kind: ListKind


class ScreenHook(Section):
    """A service that answers for one picture: a command (its words), or an HTTP address.

    `token_file` holds what a request carries as `Authorization: Bearer`.
    """

    name: str
    command: Annotated[tuple[_Text, ...], FromList] | None = None
    url: _Text | None = None
    token_file: _Text | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError(f"hook {self.name!r} needs either command or url")
        if self.command == ():
            raise ValueError(f"hook {self.name!r}: command is empty; it is a list of words, the program first")
        if self.url is not None and not re.fullmatch(r"https?://[!-~]+", self.url):
            raise ValueError(f"hook {self.name!r}: url must be an http(s) address, not {self.url!r}")
        if self.token_file is not None and self.url is None:
            raise ValueError(f"hook {self.name!r}: token_file goes with url")
        return self


class Screens(Section):
    """What is screened for before a picture is stored, shown or scored; nothing, where there is no list and no hook.

    `contact`: whom a run names when a picture matches. `records`: the file of the doors that do not version data/
    (score, serve, demo). `pdq_distance`: bits of 256. `pdq_quality`: of 100; hashes of less match nothing.
    `hook_seconds`: of one answer; `hook_calls`: at a time.
    """

    contact: Annotated[str, Field(max_length=500)] | None
    lists: Annotated[tuple[ScreenList, ...], FromList]
    hooks: Annotated[tuple[ScreenHook, ...], FromList]
    records: _Text
    pdq_distance: Annotated[int, Field(ge=0, le=MOST_BITS)]
    pdq_quality: Annotated[int, Field(ge=0, le=100)]
    hook_seconds: Positive
    hook_calls: Annotated[Count, Field(le=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [*(one.name for one in self.lists), *(one.name for one in self.hooks)]
        if wrong := [name for name in names if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is no name of a list or hook: up to 64 letters, digits, '.', '_' and '-'")
        if len(set(names)) < len(names):
            raise ValueError("two lists or hooks have one name, by which records could not tell them apart")
        if names and not (self.contact or "").strip():
            raise ValueError(
                "contact is null: say whom to call when a picture matches (a person, a number, an address)"
            )
        return self

    @property
    def active(self) -> bool:
        """Whether there is anything to screen by."""
        return bool(self.lists or self.hooks)
