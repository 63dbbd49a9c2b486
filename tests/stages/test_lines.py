"""Each stage logs its result in one line."""

import logging
import re

import pytest

from tests.support.trained_project import run

pytestmark = pytest.mark.untraced

LINES = {
    "catalog": r"catalog: \d+ pictures, 1 files in build/quarantine.csv",
    "dedupe": r"dedupe: 107 pictures kept, 2 exact and 0 near copies, 1 conflicts",
    "split": r"split: \d+ train, \d+ val, \d+ test pictures, of 107 clusters",
    "pack": r"pack: 107 pictures of 32 px in \d+ files",
    "evaluate": r"evaluate: macro recall \d+\.\d % frozen, \d+\.\d % fine-tuned, of \d+ test pictures",
    "audit": r"audit: \d+ of 107 labels look wrong, the likeliest first in reports/label_issues.csv",
}


@pytest.mark.parametrize("stage", LINES)
def test_a_line_a_stage(project_copy, caplog, stage):
    with caplog.at_level(logging.INFO, logger="pipeline"):
        run(stage)
    ours = [entry.getMessage() for entry in caplog.records if entry.name.startswith("pipeline.")]
    assert len(ours) == 1
    assert re.fullmatch(LINES[stage], ours[0])
