"""Registered versions with evidence, made without a network: what the gates see is all there."""

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from pipeline.core import tables
from pipeline.core.files import write_json
from pipeline.evaluation.label_match import LabelMatch, matched_summary
from pipeline.evidence.document import DOCUMENT, FACTS, PREDICTIONS
from pipeline.registry import evidence_store
from pipeline.tracking import server
from pipeline.tracking.lineage import digest
from tests.support.evidence_documents import complete

NAMES = ("drawings", "neutral", "porn")
EACH = 100
_ROOT = Path(__file__).parents[2]


def PARAMS() -> dict[str, Any]:  # noqa: N802 -- a document, made anew each time
    """The project's own params, for three classes."""
    document = yaml.safe_load((_ROOT / "params.yaml").read_text(encoding="utf-8"))
    document["labels"] = {"names": list(NAMES), "unsafe": ["porn"]}
    return document


def predictions(
    wrong: dict[str, int] | None = None, each: int = EACH, first: int = 0, called: str = ""
) -> pd.DataFrame:
    """Answers on a test set of `each` pictures a class: so many of a class are wrong, the rest right."""
    rows = []
    for index, name in enumerate(NAMES):
        for number in range(first, first + each):
            right = number >= first + (wrong or {}).get(name, 0)
            answer = index if right else (NAMES.index(called) if called else (index + 1) % len(NAMES))
            probabilities = np.full(3, 0.05)
            probabilities[answer] = 0.9
            sha256 = hashlib.sha256(f"{name}{number}".encode()).hexdigest()
            rows.append([sha256, "test", name, *probabilities])
    return pd.DataFrame(rows, columns=["sha256", "split", "label", *(f"p_{name}" for name in NAMES)])


def document(frame: pd.DataFrame, model_sha256: str, match: LabelMatch | None = None, **more: Any) -> dict[str, Any]:
    """An evidence.json about these answers; `match`: of the model's labels, if they are others than NAMES."""
    match = match or LabelMatch.own(NAMES, ("porn",))
    lines = sorted(f"{sha}\t{label}\n" for sha, label in zip(frame["sha256"], frame["label"], strict=True))
    made = {
        "model_sha256": model_sha256,
        "labels": list(match.labels),
        "unsafe": list(match.unsafe),
        "size": 32,
        "test": {
            "digest": hashlib.sha256("".join(lines).encode()).hexdigest(),
            "pictures": len(frame),
            "by_label": frame["label"].value_counts().to_dict(),
        },
        "summary": matched_summary(*match.arrays(frame), match, 0.95),
        "calibration": {"temperature": 1.1, "ece_before": 0.06, "ece_after": 0.03},
        "operating_points": {"unsafe": {"classes": list(match.unsafe), "threshold": 0.4}},
        "robustness": {"pictures": len(frame), "worst": {"distortion": "grey", "unsafe_recall": 0.9}},
        "slices": {"rows": [], "gap": None, "min_slice": 20},
        "reports": {"cases": 0, "right": 0, "missing": 0, "wrong": []},
        "leaks": {"test_pictures": len(frame), "near": 0, "share": 0.0, "straddling": 0, "pairs": []},
    }
    if not match.same:
        made["truth"] = {"labels": list(match.classes), "unsafe": list(match.unsafe_classes)}
    return complete(made | more)


def facts(model_sha256: str, **more: Any) -> dict[str, Any]:
    """A facts.json of a sound run."""
    made = {
        "model": "nsfw",
        "model_sha256": model_sha256,
        "record_id": "20260101T000000Z-finetune-00000000",
        "run_status": "FINISHED",
        "imported": False,
        "git_commit": "c" * 40,
        "git_dirty": False,
        "git_tree": None,
        "size_mb": 3.0,
        "speed": {"p50_ms": 10.0, "p95_ms": 20.0, "hardware": "a machine"},
    }
    return made | more


class VersionMaker:
    """Makes versions in a store."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.made = 0

    def version(
        self,
        wrong: dict[str, int] | None = None,
        *,
        frame: pd.DataFrame | None = None,
        document_more: dict[str, Any] | None = None,
        facts_more: dict[str, Any] | None = None,
        match: LabelMatch | None = None,
        with_evidence: bool = True,
        alias: bool = True,
    ) -> int:
        """Register a version that answers so; the challenger's alias goes to it."""
        self.made += 1
        model = hashlib.sha256(f"model {self.made}".encode()).hexdigest()
        frame = predictions(wrong) if frame is None else frame
        run = self.client.create_run(server.experiment_id(self.client))
        if self.made == 1:
            self.client.create_registered_model("nsfw")
        registered = self.client.create_model_version(
            "nsfw", f"runs:/{run.info.run_id}/model", run_id=run.info.run_id, tags={"nsfw.model_sha256": model}
        )
        number = int(registered.version)
        if with_evidence:
            folder = Path(tempfile.mkdtemp()) / "evidence"
            folder.mkdir()
            write_json(document(frame, model, match, **(document_more or {})), folder / DOCUMENT)
            write_json(facts(model, **(facts_more or {})), folder / FACTS)
            tables.write_parquet(frame, folder / PREDICTIONS)
            evidence_store.attach(self.client, "nsfw", number, folder, digest(folder))
            shutil.rmtree(folder.parent)
        if alias:
            self.client.set_registered_model_alias("nsfw", "challenger", str(number))
        return number

    def production(self) -> int | None:
        """The version that the alias points at."""
        version = self.client.get_registered_model("nsfw").aliases.get("production")
        return None if version is None else int(version)
