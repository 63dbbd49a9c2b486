"""The project's own params of `dedupe`."""

from pathlib import Path

import yaml

from pipeline.params.dedupe import Dedupe

PARAMS = Dedupe.model_validate(
    yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["dedupe"]
)
LIMITS = PARAMS.advanced
