import os

import pytest

from pipeline.core import errors
from pipeline.core.errors import UserError, explain


def failing(act) -> Exception:
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- which one is what the test is about
        act()
    return caught.value


def test_what_is_wrong_with_a_path_is_one_line_that_names_it(tmp_path):
    folder, file, loop = tmp_path / "folder", tmp_path / "file", tmp_path / "loop"
    folder.mkdir()
    file.touch()
    loop.symlink_to(loop)
    cases = {
        folder.read_bytes: "folder: it is a folder where a file is wanted",
        (file / "inside").read_bytes: "file/inside: a part of the path is a file",
        file.mkdir: "file: it exists already",
        (tmp_path / "absent").read_bytes: "absent: it does not exist",
        (tmp_path / ("x" * 300)).read_bytes: "xxx: the name is too long",
        loop.read_bytes: "loop: it is a link that leads back to itself",
        lambda: os.scandir(os.fsencode(tmp_path / "absent")): "absent: it does not exist",
    }
    for act, words in cases.items():
        message = explain(failing(act))
        assert words in message
        assert message.startswith(str(tmp_path))


@pytest.mark.parametrize(
    "error", [OSError("no number"), FileNotFoundError(2, "nothing"), BrokenPipeError(32, "x"), KeyError("a")]
)
def test_what_names_no_path_is_a_defect(error):
    assert explain(error) is None


def test_a_defect_keeps_its_traceback_and_asks_to_be_reported(capsys):
    def main():
        raise KeyError("a")

    with pytest.raises(KeyError) as caught:
        errors.run(main)
    assert caught.value.__notes__ == [
        "This is a defect of the program, not a mistake of yours. Report it with this traceback."
    ]


def test_a_mistake_is_one_line_and_exit_1(capsys):
    def main():
        raise UserError("params.yaml: mend it")

    with pytest.raises(SystemExit) as exited:
        errors.run(main)
    assert exited.value.code == 1
    assert capsys.readouterr().err == "error: params.yaml: mend it\n"
