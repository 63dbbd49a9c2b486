"""What is published beside a version: in a real store, from evidence that was made without a network."""

from pathlib import Path

import pandas as pd

from pipeline.core import paths
from pipeline.promotion import promoting, version_pages
from tests.support.versions import predictions


def tagged(rate: float) -> dict:
    row = {
        "family": "tag", "slice": "night", "pictures": 40, "unsafe_pictures": 20, "accuracy": 0.9,
        "accuracy_interval": [0.8, 0.95], "unsafe_recall": 0.8, "unsafe_recall_interval": [0.6, 0.9],
        "false_positive_rate": rate, "false_positive_rate_interval": [0.0, 0.6],
    }  # fmt: skip
    return {"slices": {"rows": [row], "gap": None, "min_slice": 20}}


def artifacts(client, version: int) -> Path:
    run = client.get_model_version("nsfw", str(version)).run_id
    return Path(client.download_artifacts(run, version_pages.artifact_folder(version)))


def test_a_version_gets_its_errors_plot_and_metrics_over_the_versions(makes, params, client):
    makes.version({"porn": 5}, document_more=tagged(0.5))
    promoting.promote(params, None, reason="first")
    makes.version({"porn": 2, "neutral": 4}, document_more=tagged(0.1))
    version_pages.publish(2, params)
    folder = artifacts(client, 2)
    text = (folder / "errors.html").read_text(encoding="utf-8")
    assert "Errors of nsfw, version 2" in text
    assert "What changed sides against version 1 in production" in text
    assert "newly caught: 3" in text
    assert "newly withheld: 4" in text
    assert (folder / version_pages.PLOT).read_bytes().startswith(b"\x89PNG")
    assert version_pages.LOCAL.read_text(encoding="utf-8") == text
    run = client.get_model_version("nsfw", "2").run_id
    steps = client.get_metric_history(run, "slice/tag/night/false_positive_rate")
    assert {(metric.step, metric.value) for metric in steps} == {(1, 0.5), (2, 0.1)}
    assert client.get_metric_history(run, "slice/tag/night/false_positive_rate_high")[0].value == 0.6
    description = client.get_model_version("nsfw", "2").description
    assert "[Errors](#/experiments/" in description
    assert "pages/version-2/errors.html" in description
    version_pages.publish(2, params)
    assert client.get_model_version("nsfw", "2").description == description
    again = client.get_metric_history(run, "slice/tag/night/false_positive_rate")
    assert {(metric.step, metric.value) for metric in again} == {(1, 0.5), (2, 0.1)}


def test_summary_takes_the_registered_versions_page(makes, params):
    makes.version({"porn": 5})
    assert version_pages.fetch("nsfw", 1) is None
    version_pages.publish(1, params)
    copied = version_pages.fetch("nsfw", 1)
    assert copied is not None
    assert copied.is_relative_to(paths.CACHE.absolute())
    assert "version 1" in copied.read_text(encoding="utf-8")
    assert version_pages.fetch("nsfw", 9) is None


def test_a_page_that_cannot_be_made_spoils_no_registration(makes, params, caplog):
    makes.version(with_evidence=False)
    version_pages.publish(1, params)
    assert "version 1 has no error browser" in caplog.text
    assert not version_pages.LOCAL.exists()


def test_production_that_was_not_shown_the_pictures_is_not_compared_with(makes, params, client):
    makes.version()
    promoting.promote(params, None, reason="first")
    makes.version(frame=pd.concat([predictions(), predictions(each=5, first=300)], ignore_index=True))
    version_pages.publish(2, params)
    assert "changed sides" not in (artifacts(client, 2) / "errors.html").read_text(encoding="utf-8")
