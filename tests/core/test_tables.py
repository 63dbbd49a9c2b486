import contextlib
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.tables import read_csv, read_parquet, write_csv, write_parquet
from tests.support.pictures import sha, tree


def frame() -> pd.DataFrame:
    return pd.DataFrame({"sha256": [sha(str(n)) for n in range(100)], "n": range(100), "labels": [["a", "b"]] * 100})


def test_equal_frames_give_equal_bytes(tmp_path):
    write_parquet(frame(), tmp_path / "a.parquet")
    shuffled = frame().sample(frac=1, random_state=1).sort_values("n")  # the same rows, under another index
    write_parquet(shuffled, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert read_parquet(tmp_path / "a.parquet", ["n", "sha256"]).equals(frame()[["n", "sha256"]])


def test_a_frame_that_cannot_be_written_leaves_the_old_table(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(frame(), path)
    before = tree(tmp_path)
    with pytest.raises(Exception, match="object"):
        write_parquet(frame().assign(n=object()), path)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_truncated_parquet_is_named_with_the_way_out(tmp_path, keep):
    path = tmp_path / "a.parquet"
    write_parquet(frame(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(UserError, match="not a readable parquet") as caught:
        read_parquet(path, ["sha256"])
    assert str(path) in str(caught.value)
    assert "dvc repro" in str(caught.value)


def test_a_missing_table_or_column_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match=r"a\.parquet does not exist"):
        read_parquet(path)
    write_parquet(frame(), path)
    with pytest.raises(UserError, match=r"a\.parquet lacks the column\(s\) cluster, split\."):
        read_parquet(path, ["sha256", "cluster", "split"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1, max_size=5))
def test_any_text_survives_a_csv(tmp_path, texts):
    """Origins are file names: quotes, commas, line ends of every kind."""
    write_csv(pd.DataFrame({"origin": texts, "n": "1"}), tmp_path / "a.csv")
    assert read_csv(tmp_path / "a.csv", ["origin"])["origin"].tolist() == texts


def test_a_lone_carriage_return_ends_no_row(tmp_path):
    write_csv(pd.DataFrame({"origin": ["a\rb.jpg"], "n": [1]}), tmp_path / "a.csv")
    assert read_csv(tmp_path / "a.csv", ["origin"]).to_numpy().tolist() == [["a\rb.jpg", "1"]]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "not a readable csv"),
        (b"sha256,note\n\xff,a\n", "not a readable csv"),
        (b"sha256,note\na,b,c\nd,e\nf,g,h,i\n", "not a readable csv"),
        (b"sha256\na\n", r"lacks the column\(s\) note"),
    ],
)
def test_a_csv_that_cannot_be_used_is_named(tmp_path, content, words):
    path = tmp_path / "a.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        read_csv(path, ["sha256", "note"])
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_parquet, read_csv])
def test_a_folder_in_place_of_a_table_is_named(tmp_path, read):
    write_parquet(frame(), tmp_path / "part.parquet")
    with pytest.raises(UserError, match="is a folder, not a file") as caught:
        read(tmp_path, ["sha256"])
    assert str(tmp_path) in str(caught.value)


def test_a_comma_too_many_in_every_row_shifts_no_column(tmp_path):
    (tmp_path / "a.csv").write_text("sha256,note\na,b,\nc,d,\n")
    with pytest.raises(UserError, match="more cells than its header"):
        read_csv(tmp_path / "a.csv", ["sha256", "note"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_parquet_is_read_or_named(tmp_path, changes):
    path = tmp_path / "a.parquet"
    write_parquet(frame().head(3), path)
    content = bytearray(path.read_bytes())
    for share, value in changes:
        content[int(share * len(content))] = value
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        read_parquet(path, ["sha256", "n"])


def test_a_stage_on_a_full_disk_says_so_and_leaves_no_half_table(small_disk, project, monkeypatch):
    monkeypatch.chdir(small_disk)
    document = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    document["dedupe"]["near"] = False
    (small_disk / "params.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    ids = [sha(str(n)) for n in range(20_000)]
    about = {"width": 9, "height": 9, "frame": 0.0, "entropy": 7.0, "quality": 0.5}
    about |= {"shard": "a.tar", "offset": 0, "size": 1}
    catalog = pd.DataFrame({"sha256": ids, "labels": [["neutral"]] * len(ids)}).assign(**about)
    write_parquet(catalog.assign(first_seen=pd.Timestamp("2026-01-01", tz="UTC")), paths.CATALOG)
    seen = pd.DataFrame({"sha256": ids[:2], "label": "neutral", "origin": "a", "source": "b", "bytes": 1})
    seen = seen.assign(fetched_at=pd.Timestamp("2026-01-01", tz="UTC"), status="stored", reason="")
    write_parquet(seen, paths.SIGHTINGS / "0001-b.parquet")
    paths.DECISIONS.write_text("sha256,old_label,new_label,reviewer,reason,decided_at,model_version\n")
    paths.REPORTS.write_text("sha256,expected_label,slice,ticket,reported_at\n")
    paths.DEDUPED.write_bytes(b"of the last run")
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "filler").write_bytes(bytes(free - 500_000))

    done = subprocess.run([sys.executable, "-m", "pipeline", "dedupe"], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: the disk is full while writing build/deduped.parquet; nothing half-written")
    assert set(tree(paths.BUILD)) == {"catalog.parquet", "deduped.parquet"}
    assert paths.DEDUPED.read_bytes() == b"of the last run"
