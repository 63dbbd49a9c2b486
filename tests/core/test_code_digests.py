import ast
import re
import textwrap
from pathlib import Path

import pytest

from pipeline.core import code_digests
from pipeline.core.code_digests import RESULT_NEUTRAL, closure, digest, digest_lines, is_result_neutral
from pipeline.stages import code

pytestmark = pytest.mark.untraced

MODULES = sorted(
    ".".join(path.relative_to(code_digests.PACKAGE.parent).with_suffix("").parts)
    for path in code_digests.PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

FIT = '''
"""What fits."""

import logging
from typing import TYPE_CHECKING

from pipeline import errors
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline import typed

_log = logging.getLogger(__name__)


def fit(x: int) -> int:
    """Return x and one."""
    # why
    _log.info("fitting %d", x)
    if x < 0:
        raise UserError(f"{x} is below 0")
    from pipeline import late

    return late.twice(x) + 1
'''


@pytest.fixture(scope="module")
def of_stages():
    """Each stage's list."""
    return code.lists(None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of four modules, of which `errors` changes no result; returns a function that rewrites one of them."""
    root = tmp_path / "pipeline"
    root.mkdir()
    monkeypatch.setattr(code_digests, "PACKAGE", root)
    monkeypatch.setattr(code_digests, "RESULT_NEUTRAL", {"pipeline.errors": "messages"})

    def write(module: str, text: str) -> None:
        (root / f"{module}.py").write_text(textwrap.dedent(text))
        code_digests.module_facts.cache_clear()

    for module, text in {"fit": FIT, "errors": "import pipeline.typed\n", "late": "twice = abs\n", "typed": ""}.items():
        write(module, text)
    yield write
    code_digests.module_facts.cache_clear()


def test_a_list_holds_what_runs_and_no_plumbing(package):
    assert [line.split()[0] for line in digest_lines("pipeline.fit")] == ["pipeline.fit", "pipeline.late"]
    assert closure("pipeline.fit") == {"pipeline.fit", "pipeline.late", "pipeline.errors", "pipeline.typed"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# why", "# for no reason"),
        ('"""Return x and one."""', '"""Return x plus one.\n\n    Of an int.\n    """'),
        ('"""What fits."""', ""),
        ('_log.info("fitting %d", x)', '_log.debug("fitting now %d", x)'),
        ('    _log.info("fitting %d", x)\n', ""),
        ('f"{x} is below 0"', 'f"{x}: give 0 or more"'),
        ("    from pipeline import typed\n", "    from pipeline import typed, errors\n"),
        ("late.twice(x) + 1", "(\n        late.twice(x)\n        + 1\n    )"),
    ],
)
def test_what_cannot_change_a_result_changes_no_digest(package, old, new):
    before = digest("pipeline.fit")
    assert old in FIT
    package("fit", FIT.replace(old, new))
    assert digest("pipeline.fit") == before


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("fit", FIT.replace("+ 1", "- 1")),
        ("fit", FIT.replace("x < 0", "x <= 0")),
        ("fit", FIT.replace("raise UserError", "raise ValueError")),
        ("fit", FIT.replace("import late", "import late, typed")),
        ("late", "twice = round\n"),
    ],
)
def test_what_may_change_a_result_changes_the_digest(package, module, text):
    before = digest("pipeline.fit")
    package(module, text)
    assert digest("pipeline.fit") != before


def test_plumbing_changes_no_digest(package):
    before = digest("pipeline.fit")
    package("errors", "def other():\n    return 1\n")
    assert digest("pipeline.fit") == before


@pytest.mark.parametrize("module", MODULES)
def test_a_comment_a_docstring_and_a_log_line_anywhere_change_no_digest(module, monkeypatch):
    edited = _edited(_text(module))
    assert edited != _text(module)
    before = code_digests.module_digest(module)
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: edited)
    code_digests.module_facts.cache_clear()
    after = code_digests.module_digest(module)
    code_digests.module_facts.cache_clear()
    assert after == before


def test_every_plumbing_module_exists_and_has_its_reason():
    for name, reason in RESULT_NEUTRAL.items():
        assert [module for module in MODULES if module == name or module.startswith(f"{name}.")], name
        assert len(reason.split()) > 2


def test_no_plumbing_handles_rows_pixels_or_weights():
    """Code that computes a result imports one of these; result-neutral modules do not."""
    computing = {"numpy", "pandas", "polars", "PIL", "cv2", "keras", "tensorflow", "scipy", "sklearn"}
    users = {
        module: imported
        for module in MODULES
        if is_result_neutral(module)
        and (imported := computing & set(re.findall(r"^(?:import|from) (\w+)", _text(module), flags=re.MULTILINE)))
    }
    assert users == {}


def _edited(text: str) -> str:
    """A module's text with a comment before it, and other words in every docstring and every log line."""
    lines = text.splitlines(keepends=True)
    words = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            words.append(node.value)
        logs = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
        if logs and getattr(node.func.value, "id", "") == "_log" and isinstance(node.args[0], ast.Constant):
            words.append(node.args[0])
    for node in sorted(words, key=lambda node: node.lineno, reverse=True):
        first, last = lines[node.lineno - 1].encode(), lines[node.end_lineno - 1].encode()
        other = first[: node.col_offset] + b'"Other words."' + last[node.end_col_offset :]
        lines[node.lineno - 1 : node.end_lineno] = [other.decode()]
    return "".join(["# A comment.\n", *lines])


def _text(module: str) -> str:
    return code_digests.module_file(module).read_text(encoding="utf-8")


def test_each_stage_lists_itself_and_register_what_serves(of_stages):
    for stage, listed in of_stages.items():
        assert any(line.startswith(f"pipeline.stages.{stage} ") for line in listed)
        assert listed == sorted(listed)
    names = {line.split()[0] for line in of_stages["register"]}
    assert closure("pipeline.serving.pyfunc_model") - {name for name in MODULES if is_result_neutral(name)} <= names
    assert not any(name.startswith(("pipeline.service", "pipeline.cli")) for name in names)


def test_the_weights_file_is_listed_by_its_content(of_stages, tmp_path):
    weights = tmp_path / "a.h5"
    listed = []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        listed.append(code.lists(str(weights)))
    changed = {stage for stage in listed[0] if listed[0][stage] != listed[1][stage]}
    assert changed == {"embed", "train", "cross_fit"}  # each builds the backbone
    assert code.lists("imagenet") == code.lists(None) == of_stages
