from pipeline.catalog.measure import ROW, measure, measure_shard
from pipeline.data import shards
from pipeline.duplicates.fingerprint import fingerprint
from pipeline.images import sandbox
from pipeline.images.decode import decode, decode_small
from pipeline.images.limits import Limits
from tests.support.pictures import jpeg, png, sha


def test_every_member_has_a_row_that_says_where_it_lies_and_what_it_is(rng, tmp_path):
    contents = [jpeg(rng), b"<html>", png(rng, (90, 33)), jpeg(rng)[:300], png(rng, (20, 90))]
    shards.write(tmp_path / "0001-a-00000.tar", [(sha(content), ".jpg", content) for content in contents])
    rows = measure_shard(Limits(), sandbox.WorkerLimits(20.0, 1024), tmp_path / "0001-a-00000.tar")
    measured = [dict(zip(ROW, row, strict=True)) for row in rows]
    assert [row["sha256"] for row in measured] == [sha(content) for content in contents]
    assert [row["reason"].partition(":")[0] for row in measured] == ["", "not_a_picture", "", "broken", "too_small"]
    for row, content in zip(measured, contents, strict=True):
        assert row["shard"] == "0001-a-00000.tar"
        assert shards.read(tmp_path, shards.Member(*(row[name] for name in shards.Member._fields))) == content
    assert rows[2][-13:] == (*measure(decode_small(contents[2])), *fingerprint(decode(contents[2]).image))
    assert rows[3][-4:] == (b"", b"", 0.0, 0.0)
    assert (measured[2]["format"], measured[2]["width"], measured[2]["height"]) == ("PNG", 90, 33)
