import gzip
import io
import lzma
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.images.limits import FORMATS
from pipeline.images.signatures import identify, webp_canvas
from tests.support.pictures import draw, encode


def named(data: bytes) -> str | None:
    signature = identify(data)
    return signature and f"{signature.kind} {signature.name}"


@pytest.mark.parametrize("kind", [*FORMATS, "ICO", "JPEG2000", "DDS", "ICNS"])
def test_what_pillow_writes_is_named_as_pillow_names_it(rng, kind):
    assert named(encode(draw(rng, (32, 32)), kind)) == f"picture {kind}"


@pytest.mark.parametrize(
    ("kind", "name"), [("MPO", "JPEG"), ("PPM", "PNM"), ("XBM", "XBM"), ("PDF", None), ("EPS", None)]
)
def test_what_has_another_name_here(rng, kind, name):
    image = draw(rng, (32, 32), "1" if kind == "XBM" else "RGB")
    wanted = f"picture {name}" if name else {"PDF": "document PDF", "EPS": "document PostScript"}[kind]
    assert named(encode(image, kind)) == wanted


def tar(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        archive.addfile(tarfile.TarInfo("a.jpg"))
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.jpg", b"a")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (tar("w"), "tar"),
        (tar("w:gz"), "gzip"),
        (tar("w:xz"), "xz"),
        (tar("w:bz2"), "bzip2"),
        (gzip.compress(b"a"), "gzip"),
        (lzma.compress(b"a"), "xz"),
        (zipped(), "ZIP"),
        (b"Rar!\x1a\x07\x01\0", "RAR"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "7z"),
    ],
    # Archives hold the time at which they were made: as names of tests, two processes of
    # one run would collect different tests.
    ids=["tar", "tar.gz", "tar.xz", "tar.bz2", "gz", "xz", "zip", "rar", "7z"],
)
def test_archives(data, name):
    assert named(data) == f"archive {name}"


def box(major: bytes, *alike: bytes) -> bytes:
    body = major + bytes(4) + b"".join(alike)
    return (len(body) + 8).to_bytes(4, "big") + b"ftyp" + body + b"\0\0\1\0meta" + bytes(200)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (box(b"avif", b"mif1"), "picture AVIF"),
        (box(b"avis", b"msf1"), "picture AVIF"),
        (box(b"mif1", b"mif1", b"miaf", b"avif"), "picture AVIF"),
        (box(b"heic", b"mif1"), "picture HEIF"),
        (box(b"mif1", b"heic"), "picture HEIF"),
        (box(b"hevc"), "picture HEIF"),
        (box(b"crx "), "picture camera raw"),
        (box(b"isom", b"iso2", b"avc1"), "video MPEG-4 or QuickTime"),
        (box(b"qt  "), "video MPEG-4 or QuickTime"),
        (box(b"M4A "), "audio MPEG-4"),
        (b"\0\0\0\x08wide\0\0\0\0mdat", "video QuickTime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81", "video Matroska or WebM"),
        (b"RIFF\0\0\0\0AVI LIST", "video AVI"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio WAV"),
        (b"FLV\x01\x05", "video FLV"),
        (b"OggS\0\2", "video Ogg"),
        ((b"G" + bytes(187)) * 3, "video MPEG transport stream"),
    ],
)
def test_films_sound_and_the_pictures_that_look_like_them(data, name):
    assert named(data) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<!DOCTYPE html>\n<title>404</title>", "text an HTML page"),
        (b"\xef\xbb\xbf  <HTML>", "text an HTML page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "text an XML text"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "picture SVG"),
        (b"<svg/>", "picture SVG"),
        (b'{"error": "not found"}', "text text"),
        (b"BMW and other cars", "text text"),
        ("Grüße".encode(), "text text"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "text a pointer of Git LFS, not the file itself"),
        (b"P6\n1 1\n255\n\0\0\0", "picture PNM"),
        (b"8BPS\0\1", "picture PSD"),
        (b"%PDF-1.7", "document PDF"),
        (bytes(400), None),
        (b"", None),
        (b"   ", None),
    ],
)
def test_texts_documents_and_nothing(data, name):
    assert named(data) == name


@pytest.mark.parametrize(
    ("start", "name"), [(b"\xff\xd8", "JPEG"), (b"\x89PNG\n\n\x1a", "PNG"), (b"GIF80a\0", "GIF"), (b"BM\0\1\2", "BMP")]
)
def test_a_damaged_beginning_is_still_that_formats(start, name):
    assert named(start + bytes(40)) == f"picture {name}"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0"}])
@pytest.mark.parametrize("size", [(1, 1), (300, 7), (16383, 2)])
def test_a_webps_canvas(rng, options, size):
    assert webp_canvas(encode(draw(rng, size), "WEBP", method=0, **options)) == size
    assert webp_canvas(b"RIFF\0\0\0\0WEBPVP8X") is None
    assert webp_canvas(b"RIFF\0\0\0\0WEBPVP9X" + bytes(40)) is None


@given(st.binary(max_size=600))
def test_any_bytes_have_an_answer_that_their_beginning_gives(data):
    assert identify(data) == identify(data[:512])
