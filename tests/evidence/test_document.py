import json

import pytest
from pydantic import ValidationError

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import write_json
from pipeline.evidence.document import DOCUMENT, Document
from tests.support.evidence_documents import complete


def test_what_is_read_is_written_byte_for_byte(in_project, tmp_path):
    written = paths.EVIDENCE / DOCUMENT
    write_json(Document.read(written).to_json(), tmp_path / DOCUMENT)
    assert (tmp_path / DOCUMENT).read_bytes() == written.read_bytes()


def test_sections_are_attributes_and_the_forms_of_robustness_a_mapping():
    form = {"recall": {"porn": 0.5}, "macro_recall": 0.5, "unsafe_recall": 0.5, "unsafe_recall_interval": [0.4, 0.6]}
    worst = {"distortion": "grey", "unsafe_recall": 0.5}
    part = complete({"robustness": {"pictures": 9, "grey": form, "worst": worst}, "labels": ["porn"]})
    document = Document.read(part)
    assert document.labels == ("porn",)
    assert document.robustness.forms["grey"].unsafe_recall_interval == (0.4, 0.6)
    assert document.robustness.worst.distortion == "grey"
    assert document.to_json() == json.loads(json.dumps(part))


def test_an_earlier_document_is_read_and_nothing_is_added_to_it():
    """Before cross-validation: the calibration has no `held_out`."""
    part = complete({})
    assert "held_out" not in part["calibration"]
    document = Document.read(part)
    assert document.calibration.held_out is None
    assert document.to_json() == part


@pytest.mark.parametrize("schema", [2, 0, "1", None])
def test_another_schema_is_named_with_the_way_out(schema):
    with pytest.raises(UserError, match=rf"has schema {schema}, this program reads 1\. Run `dvc repro evaluate`"):
        Document.read(complete({"schema": schema}))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"test": {"digest": "../../x"}}, r"test\.digest: no digest: '\.\./\.\./x'"),
        ({"summary": {"accuracy": "0.9"}}, r"summary\.accuracy: Input should be a valid number"),
        ({"summary": {"accuracy": float("nan")}}, r"summary\.accuracy: Input should be a finite number"),
        ({"leaks": {"near": 1.5}}, r"leaks\.near: "),
        ({"colour\x1b[31m": "red"}, r"colour\\x1b\[31m: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_named(part, message):
    with pytest.raises(UserError, match=message):
        Document.read(complete(part))


def test_what_is_missing_is_named(tmp_path):
    lacking = complete({})
    del lacking["leaks"], lacking["summary"]["unsafe"]
    write_json(lacking, tmp_path / DOCUMENT)
    with pytest.raises(
        UserError, match=r"evidence\.json \(schema 1\) is without summary\.unsafe, leaks: another version"
    ):
        Document.read(tmp_path / DOCUMENT)
    with pytest.raises(UserError, match="is no JSON object"):
        Document.read([])


def test_it_cannot_be_changed():
    document = Document.read(complete({}))
    with pytest.raises(ValidationError, match="frozen"):
        document.size = 224
