"""The paths of the project, relative to its root, where stages and commands run."""

from pathlib import Path

PARAMS = Path("params.yaml")

# The raw scrape: tracked by data.dvc, written by `nsfw` acts only.
DATA = Path("data")
SHARDS = DATA / "shards"
SIGHTINGS = DATA / "sightings"
DECISIONS = DATA / "decisions.csv"
REPORTS = DATA / "reports.csv"
SLICES = DATA / "slices.csv"
ESCALATION_RECORDS = DATA / "escalations.csv"

# Public reports, before a person has accepted them: no stage reads it, and nothing versions it.
INBOX = Path("inbox")

# Stage outputs: DVC deletes them before a stage runs.
BUILD = Path("build")
CODE = BUILD / "code"
CATALOG = BUILD / "catalog.parquet"
QUARANTINE = BUILD / "quarantine.csv"
FINGERPRINTS = BUILD / "fingerprints.parquet"
DEDUPED = BUILD / "deduped.parquet"
DUPLICATES = BUILD / "duplicates.parquet"
CONFLICTS = BUILD / "conflicts.csv"
SET_ASIDE = BUILD / "set_aside.csv"
EXCLUDED = BUILD / "excluded.csv"
CROSS_FIT = BUILD / "cross_fit.parquet"
LABEL_QUALITY = BUILD / "label_quality.parquet"
SPLITS = BUILD / "splits.parquet"
PACKED = BUILD / "packed"
EMBEDDINGS = BUILD / "embeddings"
HEAD = BUILD / "head"
FINETUNED = BUILD / "finetuned"
PREDICTIONS = BUILD / "predictions.parquet"
EVIDENCE = BUILD / "evidence"
CROSS_FIT = BUILD / "cross_fit.parquet"
REGISTERED = BUILD / "registered.json"

METRICS = Path("metrics")
PLOTS = Path("plots")
REPORTS_DIR = Path("reports")
DATA_DOCS = REPORTS_DIR / "data_docs"
DUPLICATES_REPORT = REPORTS_DIR / "duplicates.html"
ESCALATIONS = REPORTS_DIR / "escalations.csv"
LABEL_ISSUES = REPORTS_DIR / "label_issues.csv"
LABEL_NOISE = REPORTS_DIR / "label_noise.csv"

# Caches, and run records that MLflow has not got yet: they survive a rerun, and are never versioned.
CACHE = Path(".cache")
MEMBERS_CACHE = CACHE / "members.parquet"
CATALOG_CACHE = CACHE / "catalog"
HASHES_CACHE = CACHE / "dedupe" / "hashes.npy"
EMBEDDINGS_CACHE = CACHE / "embeddings"
CROSS_FIT_CACHE = CACHE / "cross_fit"
RUNS = CACHE / "runs"
CHECKPOINTS = CACHE / "checkpoints"
TUNE = CACHE / "tune"
EVIDENCE_CACHE = CACHE / "evidence"
THUMBNAILS = CACHE / "thumbnails"
REVIEW_KEY = CACHE / "review.key"

# Decisions that people made, until `nsfw review --done` writes them into data/.
REVIEW = Path("review.db")

MODEL_FILE = "model.keras"
ONNX_FILE = "model.onnx"  # the same, where the backbone is a features file
