import pytest
import yaml

from pipeline.core.errors import UserError
from pipeline.core.yaml_document import read

BOMB = "a0: &a0 [1, 1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))


def write(tmp_path, content: str | bytes):
    path = tmp_path / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("seed: 1\nlabels: {}\nseed: 2\n", ["line 3, column 1", "'seed' is given twice, in line 1 too"]),
        ("a: {b: 1, c: 2, b: 3}\n", ["line 1, column 17", "'b' is given twice"]),
        ("a:\n  b: 1\n  b: 1\n", ["line 3, column 3", "'b' is given twice, in line 2 too"]),
        (f"seed: {'9' * 5000}\n", ["line 1, column 7", "too long a number"]),
        (f"seed: 0x{'f' * 300}\n", ["too large a number"]),
        (f"seed: {'9' * 300}\n", ["too large a number"]),
        ("rate: .nan\n", ["'.nan' is no finite number"]),
        ("rate: -.inf\n", ["no finite number"]),
        ("rate: 1.0e+999\n", ["no finite number"]),
        ("seed: " + "[" * 3000, ["nested more than 50 deep"]),
        ("seed: " + "{a: " * 3000, ["nested more than 50 deep"]),
        (BOMB, ["more than 50,000 values"]),
        ("a: &a [*a]\n", ["an alias refers to a node that contains it"]),
        ("a: *b\n", ["undefined alias"]),
        ("names: [2024-13-01]\n", ["'2024-13-01' is no timestamp"]),
        ("a: !!int one\n", ["'one' is no int"]),
        ("a: !!bool one\n", ["'one' is no bool"]),
        ("a: !!timestamp one\n", ["'one' is no timestamp"]),
        ("a: !!python/object/apply:os.system [ls]\n", ["could not determine a constructor"]),
        ("? [a]\n: 1\n", ["a key must be a plain text"]),
        ("\tseed: 1\n", ["line 1, column 1"]),
        ("a: 1\n---\na: 2\n", ["another document"]),
        ("a: [1\n", ["line 2, column 1"]),
        (b"a: \x01\n", ["unacceptable character"]),
        ("ä: 1\n".encode("latin-1"), ["line 1 is not UTF-8"]),
        ("a: 1\n".encode("utf-16"), ["line 1 is not UTF-8"]),
        (b"a: 1\n" * 2**18, ["1,310,720 bytes", "right file"]),
    ],
)
def test_what_is_doubtful_is_refused_by_its_line(tmp_path, content, words):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        read(path, remedy="Run this elsewhere.")
    message = str(caught.value)
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == []
    assert len(message.splitlines()) == 1
    assert len(message) < 600


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nothing\n",
        "a: [1, 2.5, true, null, text, '2024-01-01']\n",
        "a: &a {b: 1}\nc: *a\nd: {<<: *a, b: 2, e: 3}\n",
        "\ufeffa: 1\r\nb: 0x10\r\n",
        "a: 9007199254740992\nb: -1.5e-300\n",
    ],
)
def test_what_is_sound_is_read_as_yaml_has_it(tmp_path, content):
    path = write(tmp_path, content)
    assert read(path, remedy="") == yaml.safe_load(content)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.yaml does not exist\. Run this elsewhere\."):
        read(tmp_path / "absent.yaml", remedy="Run this elsewhere.")
    with pytest.raises(UserError, match="is a folder, not a file"):
        read(tmp_path, remedy="")
