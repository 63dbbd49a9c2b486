import pytest

from pipeline.core.errors import UserError
from pipeline.web_ingest import lists
from pipeline.web_ingest.lists import Item
from tests.support.pictures import LABELS


def write(path, text: str | bytes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_list_has_a_url_a_line_and_what_is_expected_of_it(tmp_path):
    digest = "ab" * 32
    lines = ["\ufeffhttp://a.test/1\r", "", "  # a comment", f"http://a.test/2 sha256={digest.upper()}"]
    lines += ['http://a.test/3\tetag="x"', "http://a.test/1", "http://a.test/a b"]
    text = "\n".join(lines)
    assert lists.read(write(tmp_path / "list.txt", text), "porn", LABELS) == [
        Item("http://a.test/1", "porn"),
        Item("http://a.test/2", "porn", sha256=digest),
        Item("http://a.test/3", "porn", etag='"x"'),
        Item("http://a.test/a b", "porn"),
    ]


def test_a_folders_lists_have_their_folders_labels_at_any_depth(tmp_path):
    write(tmp_path / "raw_data" / "porn" / "urls_porn.txt", "http://a.test/1\n")
    write(tmp_path / "raw_data" / "deeper" / "sexy" / "urls_sexy.txt", b"http://a.test/1\nhttp://a.test/\xff\n")
    write(tmp_path / "raw_data" / "README.md", "http://a.test/no")
    assert lists.read(tmp_path / "raw_data", None, LABELS) == [
        Item("http://a.test/1", "sexy"), Item("http://a.test/\\xff", "sexy"), Item("http://a.test/1", "porn"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "label", "words"),
    [
        ("list.txt", "http://a.test/1", None, "--label"),
        ("list.txt", "http://a.test/1", "cats", "does not know the label 'cats'"),
        ("list.txt", "# nothing", "porn", "lists no URL"),
        ("list.txt", "http://a.test/1 sha256=12", "porn", "line 1: 'sha256=12' is neither"),
        ("list.txt", "\nhttp://a.test/1 etag=", "porn", "line 2: 'etag=' is neither"),
        ("list.txt", "http://a.test/1 etag=a\nhttp://a.test/1 etag=b", "porn", "listed twice"),
        ("cats/urls_cats.txt", "http://a.test/1", None, "does not know the label 'cats'"),
        ("porn/list.txt", "http://a.test/1", None, "holds no lists"),
        ("porn/urls_porn.txt", "http://a.test/1", "porn", "Leave out --label"),
    ],
)
def test_a_list_that_cannot_be_meant_stops_before_anything_is_fetched(tmp_path, name, text, label, words):
    path = write(tmp_path / "lists" / name, text)
    with pytest.raises(UserError, match=words):
        lists.read(path if name == "list.txt" else tmp_path / "lists", label, LABELS)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="absent does not exist"):
        lists.read(tmp_path / "absent", None, LABELS)
