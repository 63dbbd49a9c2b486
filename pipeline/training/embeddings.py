"""Pooled backbone features on disk: an .npz a split, with `features` (views, n, features), `sha256` and `label` (n)."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.core import files
from pipeline.core.errors import UserError


@dataclass(frozen=True)
class Embeddings:
    """A split's features: float32 (views, n, features), view 0 the clean picture; sha256 (n); label index (n)."""

    features: np.ndarray
    sha256: np.ndarray
    label: np.ndarray

    @classmethod
    def join(cls, parts: "Sequence[Embeddings]") -> "Embeddings":
        """Return the pictures of several splits as one, in order; all have as many views as the fewest."""
        views = min(len(part.features) for part in parts)
        return cls(
            np.concatenate([part.features[:views] for part in parts], axis=1),
            np.concatenate([part.sha256 for part in parts]),
            np.concatenate([part.label for part in parts]),
        )

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        with files.atomic(path) as temporary, temporary.open("wb") as opened:
            np.savez(opened, features=self.features, sha256=self.sha256, label=self.label)

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Read the file, without unpickling.

        Raises:
            UserError: it is missing or damaged.

        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls(arrays["features"], arrays["sha256"], arrays["label"])
        except FileNotFoundError:
            raise UserError(files.missing_message(path)) from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not readable ({error}). {files.REBUILD.format(path=path)}") from None
