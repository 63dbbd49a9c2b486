"""Styles and scripts of served pages, at addresses that hold their digest: a browser may keep them for ever."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, HTTPException
from fastapi.responses import Response

from pipeline.pages.static import ASSETS

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
_FOREVER = "public, max-age=31536000, immutable"
_DIGITS = 16


@dataclass(frozen=True)
class Assets:
    """The asset files by name, and their addresses."""

    content: Mapping[str, bytes]

    @classmethod
    def of(cls, *folders: Path) -> "Assets":
        """Return every css, js and svg file of this room's assets and of `folders`; of one name the last is taken."""
        files = [path for folder in (ASSETS, *folders) for path in sorted(folder.iterdir())]
        return cls({path.name: path.read_bytes() for path in files if path.suffix in _TYPES})

    def url(self, name: str) -> str:
        """Return the address of an asset: `/assets/style.0123456789abcdef.css`."""
        stem, _, suffix = name.rpartition(".")
        return f"/assets/{stem}.{hashlib.sha256(self.content[name]).hexdigest()[:_DIGITS]}.{suffix}"

    def page(self, *, styles: tuple[str, ...] = (), scripts: tuple[str, ...] = ()) -> dict[str, object]:
        """Return `page` of base.html for a served page: the common stylesheet, then these."""
        return {
            "policy": "",  # a header
            "styles": [],
            "scripts": [],
            "style_urls": [self.url(name) for name in ("style.css", *styles)],
            "script_urls": [self.url(name) for name in scripts],
        }

    def add_to(self, app: FastAPI) -> None:
        """Serve them."""
        by_name = {self.url(name).rpartition("/")[2]: name for name in self.content}

        @app.get("/assets/{name}", include_in_schema=False)
        async def asset(name: str) -> Response:
            if name not in by_name:
                raise HTTPException(404, "no such asset")
            original = by_name[name]
            return Response(
                self.content[original],
                media_type=_TYPES[Path(original).suffix],
                headers={"cache-control": _FOREVER},
            )
