"""Runs that somebody deletes in MLflow, also with `mlflow gc`."""

import json
import shutil

import pytest
from click.testing import CliRunner

from pipeline.core import paths
from pipeline.promotion import promoting
from pipeline.promotion.history import history


@pytest.fixture
def in_production(makes, params, client):
    """Version 1, in production by its evidence; returns its run."""
    makes.version({"porn": 5})
    promoting.promote(params, None, reason="first")
    return client.get_model_version("nsfw", "1").run_id


def collect_garbage(store):
    """Run `mlflow gc`."""
    from mlflow.cli import gc

    uri = f"sqlite:///{store}"
    done = CliRunner().invoke(gc, ["--backend-store-uri", uri, "--tracking-uri", uri])
    assert done.exit_code == 0, done.output


def test_a_deleted_run_is_told_of_and_sync_restores_it(in_production, params, client, nsfw):
    client.delete_run(in_production)
    (finding,) = history(params).now.findings()
    assert "the run of version 1 (production) was deleted" in finding
    assert "`nsfw sync` restores it" in finding
    assert "WARNING: the run of version 1" in nsfw("gates", "1")[1]
    code, out, _ = nsfw("sync")
    assert (code, "restored the run of version 1" in out) == (0, True)
    assert client.get_run(in_production).info.lifecycle_stage == "active"
    assert history(params).now.findings() == []
    assert json.loads(nsfw("sync", "--json")[1])["mended"] == []


def test_once_it_is_gone_the_evidence_is_attached_to_another_run(in_production, params, client, nsfw, store):
    client.delete_run(in_production)
    collect_garbage(store)
    (finding,) = history(params).now.findings()
    assert "is gone for good" in finding
    digest = client.get_model_version("nsfw", "1").tags["nsfw.evidence_sha256"]
    code, out, _ = nsfw("sync")
    assert (code, "attached the evidence of version 1 to another run" in out) == (0, True)
    shutil.rmtree(paths.EVIDENCE_CACHE)  # what is fetched from now on is MLflow's
    assert history(params).now.findings() == []
    version = client.get_model_version("nsfw", "1")
    assert version.tags["nsfw.evidence_sha256"] == digest
    another = version.tags["nsfw.evidence_run"]
    assert another != in_production
    folder = f"evidence/{digest[:12]}"
    assert version.description.splitlines()[0].startswith(
        f"[Model card](#/experiments/1/runs/{another}/artifacts/{folder}/model_card.html)"
    )
    assert nsfw("gates", "1")[0] == 0


def test_without_a_copy_sync_says_so(in_production, client, nsfw, store):
    client.delete_run(in_production)
    collect_garbage(store)
    shutil.rmtree(paths.EVIDENCE_CACHE)
    assert "no copy of that lies here" in nsfw("sync")[1]


def test_runs_that_nothing_in_use_needs_stay_deleted(in_production, makes, params, client, nsfw):
    makes.version()
    makes.version()
    unused = client.get_model_version("nsfw", "2").run_id
    client.delete_run(unused)
    assert history(params).now.findings() == []
    nsfw("sync")
    assert client.get_run(unused).info.lifecycle_stage == "deleted"
