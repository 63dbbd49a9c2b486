"""List what each stage's result depends on besides data and params: modules and the backbone's weights, with digests.

Reads   pipeline/, the file that backbone.weights names
Writes  build/code/<stage>.txt: a line a module, `<module> <digest>`; see pipeline/core/code_digests.py
Run     dvc repro code

Comments, docstrings and log lines change no list, so nothing reruns. A change of code changes a line of each list that
has its module, and `dvc repro` runs the stages of these lists.
"""

import logging
from pathlib import Path
from pkgutil import iter_modules

from pipeline import stages
from pipeline.core import code_digests, files, paths
from pipeline.params.root import load_params
from pipeline.tracking.lineage import digest

_PACKAGED = "pipeline.serving.pyfunc_model"  # `register` packages the serving code without importing it
_START_FROM_WEIGHTS = ("embed", "train", "cross_fit")

_log = logging.getLogger(__name__)


def lists(weights: str | None) -> dict[str, list[str]]:
    """Return each stage's list, by its name; `weights` is params.yaml's backbone.weights."""
    names = sorted(module.name for module in iter_modules(stages.__path__) if module.name != "code")
    listed = {name: code_digests.digest_lines(f"pipeline.stages.{name}") for name in names}
    listed["register"] = code_digests.digest_lines("pipeline.stages.register", _PACKAGED)
    if weights is not None and Path(weights).is_file():
        for name in _START_FROM_WEIGHTS:
            listed[name].append(f"{weights} {digest(Path(weights))}")
    return listed


def main() -> None:
    """Write every stage's list."""
    params = load_params()
    listed = lists(params.backbone.weights)
    for stage, lines in listed.items():
        with files.atomic(paths.CODE / f"{stage}.txt") as temporary:
            temporary.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    modules = set().union(*listed.values())
    _log.info("code: %d modules that the results of %d stages depend on", len(modules), len(listed))
