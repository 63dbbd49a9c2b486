import contextlib
import copy
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.core import yaml_document
from pipeline.core.errors import UserError
from pipeline.params.backbone import UNFREEZE_POINTS
from pipeline.params.root import load_params, parse_params

PARAMS = Path(__file__).parents[2] / "params.yaml"
DOCUMENT = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
# The cases below start from these, independently of the project's own params.
DOCUMENT["labels"] = {"names": ["drawings", "hentai", "neutral", "porn", "sexy"], "unsafe": ["hentai", "porn", "sexy"]}
DOCUMENT["backbone"] |= {"name": "mobilenet_v2", "alpha": 0.35, "weights": "imagenet", "size": 96}
DOCUMENT["split"]["fractions"] = {"train": 0.7, "val": 0.15, "test": 0.15}
EXPONENTIAL = {"kind": "exponential", "initial": 0.001, "rate": 0.9, "every_epochs": 1.0, "warmup_epochs": 1.0}
DOCUMENT["finetune"] |= {"unfreeze": "all", "schedule": EXPONENTIAL}
DENSENET = {"name": "densenet121", "alpha": 1.0, "weights": "imagenet", "size": 32}
FEATURES = {"name": "features_file", "alpha": 1.0, "weights": "clip.onnx", "size": 224, "rescaling": "clip"}
INCEPTION = {"name": "inception_v3", "alpha": 1.0, "weights": "imagenet", "size": 299}


def changed(**changes):
    """params.yaml with some keys replaced: `split__salt="x"`; a dict is merged into its section."""
    document = copy.deepcopy(DOCUMENT)
    for name, value in changes.items():
        *way, last = name.split("__")
        section = document
        for key in way:
            section = section[key]
        if isinstance(value, dict) and isinstance(section.get(last), dict) and last != "schedule":
            section[last] |= value
        else:
            section[last] = value
    return document


def test_the_projects_own_params_load():
    params = load_params(PARAMS)
    assert set(params.labels.unsafe) < set(params.labels.names)
    assert params.finetune.schedule.kind == yaml.safe_load(PARAMS.read_text())["finetune"]["schedule"]["kind"]
    with pytest.raises(ValidationError, match="frozen"):
        params.seed = 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train__dropuot": 0.5}, ["train.dropuot", "unknown key", "dropout", "l2"]),
        ({"tuning": {}}, ["tuning: unknown key", "finetune", "split"]),
        ({"tune__space": {"train.l2": {"low": 1.0, "high": 0.1}}}, ["tune.space.train.l2", "low is 1", "below high"]),
        ({"tune__space": {"train.l2": {"low": 0.0, "high": 0.1, "log": True}}}, ["tune.space.train.l2", "above 0"]),
        ({"tune__space": {"train.l2": {"low": 0.1}}}, ["tune.space.train.l2.high: missing"]),
        ({"tune__space": {"train.l2": {"low": 0.1, "high": 1, "steps": 3}}}, ["tune.space.train.l2.steps", "unknown"]),
        ({"tune__space": {"finetune.unfreeze": {"choices": []}}}, ["tune.space.finetune.unfreeze", "at least 1"]),
        ({"tune__space": {"finetune.unfreeze": {"choices": ["all", "all"]}}}, ["unfreeze", "twice"]),
        ({"tune__objective": "recall"}, ["tune.objective", "'macro_recall'", "'recall'"]),
        ({"tune__pruner": "medain"}, ["tune.pruner", "'hyperband'", "'medain'"]),
        ({"split__fractions": {"dev": 0.1}}, ["split.fractions.dev", "unknown key", "train, val, test"]),
        ({"train__dropout": [1.5, 0.25]}, ["train.dropout.0", "less than 1", "1.5"]),
        ({"train__dropout": [0.5]}, ["train.dropout"]),
        ({"train__epochs": 0}, ["train.epochs", "greater than or equal to 1", "0"]),
        ({"train__epochs": 3.5}, ["train.epochs", "valid integer", "3.5"]),
        ({"train__l2": float("nan")}, ["train.l2", "finite", "nan"]),
        ({"augment__flip": "yes"}, ["augment.flip", "valid boolean"]),
        ({"finetune__unfreeze": "mixed5"}, ["finetune.unfreeze", "'mixed5'", *UNFREEZE_POINTS["mobilenet_v2"]]),
        (
            {"backbone": INCEPTION, "finetune__unfreeze": "conv2d_57"},
            ["'conv2d_57'", *UNFREEZE_POINTS["inception_v3"]],
        ),
        ({"backbone__name": "resnet50"}, ["backbone.name", "'inception_v3'", "'mobilenet_v2'", "resnet50"]),
        ({"backbone__alpha": 0.3}, ["backbone: alpha is 0.3", "0.35", "1.4"]),
        ({"backbone": DENSENET | {"alpha": 0.5}}, ["backbone: alpha is 0.5; densenet121 has one width, 1.0"]),
        ({"backbone": DENSENET | {"size": 31}}, ["backbone.size", "32"]),
        ({"backbone": DENSENET, "finetune__unfreeze": "block_6"}, ["'block_6'; densenet121 has all, none, pool1"]),
        ({"backbone__rescaling": "128ths"}, ["backbone.rescaling", "'symmetric', 'unit', 'imagenet' or 'clip'"]),
        ({"backbone": FEATURES | {"weights": "saved_model"}}, ["weights is saved_model", "tf2onnx.convert"]),
        ({"backbone": FEATURES | {"weights": None}}, ["features_file takes an ONNX file"]),
        ({"backbone": FEATURES | {"rescaling": None}}, ["rescaling is null", "symmetric (SigLIP), imagenet (DINO)"]),
        ({"backbone": FEATURES | {"alpha": 0.5}}, ["alpha must be 1.0"]),
        ({"backbone": FEATURES}, ["finetune.unfreeze is 'all'; features_file has none"]),
        ({"backbone": INCEPTION | {"size": 64}}, ["backbone: size is 64", "75"]),
        ({"backbone": INCEPTION | {"alpha": 0.5}}, ["backbone: alpha is 0.5", "1.0"]),
        ({"backbone__weights": None, "finetune__unfreeze": "none"}, ["finetune.unfreeze must be all"]),
        ({"split__fractions": {"test": 0.25}}, ["split.fractions", "1.1, not 1"]),
        ({"split__fractions": {"train": 0.85, "val": 0.0}}, ["split.fractions", "val must be above 0"]),
        ({"labels__names": ["a", "b/c"], "labels__unsafe": ["a"]}, ["labels", "'b/c'", "letters, digits, _ and -"]),
        ({"labels__names": ["a", "keep", "drop"], "labels__unsafe": ["a"]}, ["labels", "drop, keep", "decisions.csv"]),
        ({"labels__names": ["a", "a", "b"], "labels__unsafe": ["a"]}, ["labels", "twice"]),
        ({"labels__unsafe": ["gore"]}, ["labels", "unsafe names gore", "drawings, hentai, neutral, porn, sexy"]),
        ({"labels__unsafe": DOCUMENT["labels"]["names"]}, ["labels", "at least one must be safe"]),
        ({"validate__class_ratio": {"severity": "fatal"}}, ["validate.class_ratio.severity", "'error'", "'warn'"]),
        ({"review__reviewers": ["ada", "bob", "ada"]}, ["review", "reviewers holds a name twice"]),
        ({"review__reviewers": ["ada+bob"]}, ["review", "'ada+bob'", "plus signs"]),
        ({"review__blur": 101}, ["review.blur", "101"]),
        ({"ingest__contact": "me@example.org\r\nCookie: a"}, ["ingest", "contact must be a mail address"]),
        ({"ingest__contact": "(me)@example.org"}, ["ingest", "contact must be a mail address"]),
        ({"ingest__per_host": 33}, ["ingest", "per_host must not exceed connections"]),
        ({"register__model": "a/b"}, ["register.model", "a/b"]),
    ],
)  # fmt: skip
def test_an_impossible_value_is_named_with_what_is_allowed(changes, words):
    with pytest.raises(UserError) as caught:
        parse_params(changed(**changes))
    for word in words:
        assert word in str(caught.value)


def test_every_mistake_is_told_at_once_and_a_missing_key_too():
    document = changed(train__dropout=[2.0, 0.1], pack__encoding="gif")
    del document["audit"]["folds"]
    with pytest.raises(UserError) as caught:
        parse_params(document)
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert "  audit.folds: missing" in lines


COSINE = {"kind": "cosine", "initial": 0.01, "final": 0.0, "warmup_epochs": 1.0}
PIECEWISE = {"kind": "piecewise", "boundaries": [5.0, 10.0], "values": [0.1, 0.01, 0.001], "warmup_epochs": 0.0}


@pytest.mark.parametrize("schedule", [EXPONENTIAL, COSINE, PIECEWISE])
def test_schedules_are_accepted(schedule):
    parsed = parse_params(changed(finetune__schedule=schedule)).finetune.schedule
    assert parsed.model_dump() == {k: tuple(v) if isinstance(v, list) else v for k, v in schedule.items()}


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (EXPONENTIAL | {"rate": 1.1}, ["finetune.schedule.rate", "less than or equal to 1"]),
        (COSINE | {"rate": 0.9}, ["finetune.schedule.rate", "unknown key"]),
        (COSINE | {"initial": 0.0}, ["finetune.schedule.initial", "greater than 0"]),
        (PIECEWISE | {"values": [0.1]}, ["finetune.schedule:", "2 boundaries need 3 values, not 1"]),
        (PIECEWISE | {"boundaries": [10.0, 5.0]}, ["finetune.schedule:", "ascend"]),
        (COSINE | {"kind": "step"}, ["finetune.schedule", "'exponential', 'cosine', 'piecewise'", "step"]),
        ({"initial": 0.1}, ["finetune.schedule", "kind"]),
    ],
)
def test_schedules_are_refused(schedule, words):
    with pytest.raises(UserError) as caught:
        parse_params(changed(finetune__schedule=schedule))
    for word in words:
        assert word in str(caught.value)


def test_the_articles_unfreeze_point_is_an_alias():
    params = parse_params(changed(backbone=INCEPTION, finetune__unfreeze="conv2d_56"))
    assert params.finetune.unfreeze == "conv2d_56"


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "does not exist"), ("seed: [", "not valid YAML"), ("", "is wrong"), ("- 1", "is wrong")],
)
def test_a_file_that_is_no_params_is_named(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words) as caught:
        load_params(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels__names": [dt.date(2024, 1, 1), "b"]}, ["labels.names.0", "a date, 2024-01-01: put it in quotes"]),
        ({"labels__3": "x"}, ["labels.3: unknown key"]),
        ({"train__epochs": 2**40}, ["train.epochs", "less than 2147483648"]),
        ({"catalog__memory_mb": 2**40}, ["catalog.memory_mb", "less than or equal to 1048576"]),
        ({"serve__advanced__seconds": 1e300}, ["serve.advanced.seconds", "less than or equal to 1000000000"]),
        ({"seed": True}, ["seed", "valid integer", "True"]),
        ({"augment__zoom": True}, ["augment.zoom", "valid number", "True"]),
        ({"split__salt": "x" * 5000 + "\ud800"}, ["split.salt", "..."]),
    ],
)
def test_odd_values_are_named_too(changes, words):
    with pytest.raises(UserError) as caught:
        parse_params(changed(**changes))
    assert [word for word in words if word not in str(caught.value)] == []
    assert len(str(caught.value)) < 400


# Values that may be written in place of any other.
ODD = st.one_of(
    st.sampled_from(
        [None, True, -1, 0, 2**53, -0.0, 1e308, "", "\ud800", "a.b", "imagenet", dt.date(2024, 1, 1), {}, []]
    ),
    st.integers(-(2**60), 2**60),
    st.floats(allow_nan=True),
    st.text(max_size=5),
    st.lists(st.sampled_from([None, 1, 0.5, "a", dt.date(2024, 1, 1), [], {}]), max_size=3),
    st.dictionaries(st.sampled_from(["a", "kind", "choices", "low", "high", "unsafe"]), st.integers(-1, 2), max_size=3),
)


def containers(node) -> list:
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return ([node] if node and isinstance(node, dict | list) else []) + [
        one for value in inner for one in containers(value)
    ]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_whatever_a_document_holds_only_our_own_message_comes_out(data):
    document = copy.deepcopy(DOCUMENT)
    for _ in range(data.draw(st.integers(1, 3))):
        node = data.draw(st.sampled_from(containers(document)))
        key = data.draw(st.sampled_from(sorted(node, key=str) if isinstance(node, dict) else range(len(node))))
        act = data.draw(st.sampled_from(["replace", "delete", "rename"]))
        if act == "replace" or isinstance(node, list):
            node[key] = data.draw(ODD)
        else:
            value = node.pop(key)
            if act == "rename":
                node[data.draw(st.sampled_from(["x", 3, None, dt.date(2024, 1, 1), "names"]))] = value
    outcome(lambda: parse_params(document))


# A part of the file with every form of value; PyYAML is slow on the whole file.
LINES = yaml.safe_dump({key: DOCUMENT[key] for key in ("seed", "labels", "split", "finetune", "validate")}).encode()
BITS = [
    b"&a ",
    b"*a",
    b"[",
    b"}",
    b": ",
    b"\t",
    b"- ",
    b"!!int ",
    b"2024-01-01",
    b"9" * 500,
    b"\xff",
    b"\0",
    b"<<: ",
    b"'",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=2000, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, len(LINES)), st.integers(0, 9), st.sampled_from([b"", *BITS])), max_size=4))
def test_whatever_the_file_holds_only_our_own_message_comes_out(tmp_path, edits):
    content = LINES
    for offset, length, bit in edits:
        content = content[:offset] + bit + content[offset + length :]
    path = tmp_path / "params.yaml"
    path.write_bytes(content)

    def load() -> None:
        document = yaml_document.read(path, remedy="")
        parse_params(DOCUMENT | document if isinstance(document, dict) else document)

    outcome(load)


def outcome(act: Callable[[], object]) -> None:
    """Any other exception fails the test."""
    with contextlib.suppress(UserError):
        act()
