"""The address of the MLflow store: which one is in use, and how it is shown."""

import os
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.tracking import main_project

DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # of database servers
_SQLITE = "sqlite:///"


def tracking_uri() -> str:
    """Return MLFLOW_TRACKING_URI, or else a sqlite file in the project's root.

    A sqlite file is named by its full path, because a temporary experiment of DVC uses it from another folder.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}mlflow.db"
    database = sqlite_file(uri)
    return uri if database is None else f"{_SQLITE}{database}"


def sqlite_file(uri: str) -> Path | None:
    """Return the sqlite file that `uri` names; None if it names another kind of store."""
    name = uri.removeprefix(_SQLITE) if uri.startswith(_SQLITE) else ""
    return (main_project.root() / name).resolve() if name and not name.startswith(":") and "?" not in name else None


def without_password(uri: str) -> str:
    """Return `uri` without user name and password."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else uri


def store_name() -> str:
    """Return the address of the store in use without a password; a sqlite file in the project has its relative path."""
    uri = without_password(tracking_uri())
    return uri.replace(f"sqlite:///{main_project.root().resolve()}/", "sqlite:///")


def is_database_server() -> bool:
    """Whether the tracking URI names a database server rather than an MLflow server."""
    return urlsplit(tracking_uri()).scheme.split("+")[0] in DATABASE_PORTS
