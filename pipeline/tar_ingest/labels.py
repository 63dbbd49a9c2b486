"""The label of a sample: one for all, a key's value in its json, or the folder that it or its archive lies in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import UserError

_SHOWN = 100  # characters of an unknown label


@dataclass(frozen=True)
class LabelRule:
    """How samples get their labels; `label` is that of all, `key` a key of the json; with neither, folders name it."""

    known: tuple[str, ...]
    label: str | None = None
    key: str | None = None

    def of(self, folders: Sequence[str], about: Mapping[str, Any], problem: str = "") -> tuple[str | None, str]:
        """Return a sample's label and "", or None and why it has none.

        `folders`: the names of its archive's folder and of its own. `about`: its json; `problem`: why that is unknown.
        """
        if self.label is not None:
            return self.label, ""
        if self.key is None:
            return self._of_folders(folders)
        if problem:
            return None, problem
        value = about.get(self.key)
        if isinstance(value, str) and value in self.known:
            return value, ""
        if value is None or value == "":
            return None, f"no_label: its json has no {self.key[:_SHOWN]!r}"
        return None, f"unknown_label: {_shown(value)}"

    def _of_folders(self, folders: Sequence[str]) -> tuple[str | None, str]:
        named = sorted({name for name in folders if name in self.known})
        if len(named) == 1:
            return named[0], ""
        if named:
            return None, f"two_labels: in folders of {' and '.join(map(repr, named))}"
        strangers = [name for name in folders if name]
        return None, f"unknown_label: {_shown(strangers[-1])}" if strangers else "no_label: it lies in no folder"


def rule(known: Sequence[str], label: str | None, key: str | None) -> LabelRule:
    """Return the rule that the options mean.

    Raises:
        UserError: the label is unknown.

    """
    if label is not None and label not in known:
        names = ", ".join(map(repr, known))
        raise UserError(f"--label: params.yaml does not know the label {label!r}; labels.names has {names}.")
    return LabelRule(tuple(known), label, key)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str) else f"{value!r} ({type(value).__name__})"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
