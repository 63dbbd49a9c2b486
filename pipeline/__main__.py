"""Run one stage: `python -m pipeline STAGE`, as dvc.yaml does.

Stages are imported here by name, not run as `__main__`: worker processes would import the whole stage again.
"""

import sys
from importlib import import_module
from pkgutil import iter_modules

from pipeline import stages
from pipeline.core import errors, executor, import_hooks, tensorflow_log
from pipeline.params.root import load_params


def main() -> None:
    """Import the stage that the command line names, and run it."""
    names = sorted(module.name for module in iter_modules(stages.__path__))
    if len(sys.argv) != 2 or sys.argv[1] not in names:
        print(f"usage: python -m pipeline {{{','.join(names)}}}", file=sys.stderr)
        sys.exit(2)
    tensorflow_log.silence()
    import_hooks.speed_up_imports()
    errors.run(lambda: _run(sys.argv[1]))


def _run(stage: str) -> None:
    executor.use(load_params().compute.scheduler)
    with import_hooks.uncollected():
        module = import_module(f"pipeline.stages.{stage}")
    module.main()


if __name__ == "__main__":
    main()
