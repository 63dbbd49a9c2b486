"""Identify a file by its first bytes: nothing is decoded, so it is safe on any bytes.

signature = identify(data)
signature.kind, signature.name  # "picture", "JPEG"
"""

from typing import Literal, NamedTuple

Kind = Literal["picture", "archive", "video", "audio", "document", "text"]

_HEAD = 512  # bytes: the signature of a tar is at 257


class Signature(NamedTuple):
    """The kind and name of a file's format; for a picture, Pillow's name, if Pillow has one."""

    kind: Kind
    name: str


_JPEG_XL = Signature("picture", "JPEG XL")
_TAR = Signature("archive", "tar")
_ZIP = Signature("archive", "ZIP")
_TIFF = Signature("picture", "TIFF")
_ICO = Signature("picture", "ICO")
_QUICKTIME = Signature("video", "QuickTime")
_MPEG = Signature("video", "MPEG")

# The offset of the magic bytes, the bytes, and the format that has them. The first match counts.
_MAGIC: tuple[tuple[int, bytes, Signature], ...] = (
    (0, b"\xff\xd8", Signature("picture", "JPEG")),
    (0, b"\x89PNG", Signature("picture", "PNG")),
    (0, b"GIF8", Signature("picture", "GIF")),
    (0, b"II*\0", _TIFF),
    (0, b"MM\0*", _TIFF),
    (0, b"II\0*", _TIFF),  # these two are wrong, but exist, and Pillow reads them
    (0, b"MM*\0", _TIFF),
    (0, b"II+\0", _TIFF),  # BigTIFF
    (0, b"MM\0+", _TIFF),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", Signature("picture", "JPEG2000")),
    (0, b"\xff\x4f\xff\x51", Signature("picture", "JPEG2000")),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", _JPEG_XL),
    (0, b"\xff\x0a", _JPEG_XL),
    (0, b"\0\0\x01\0", _ICO),
    (0, b"\0\0\x02\0", Signature("picture", "CUR")),
    (0, b"icns", Signature("picture", "ICNS")),
    (0, b"8BPS", Signature("picture", "PSD")),
    (0, b"gimp xcf", Signature("picture", "XCF")),
    (0, b"DDS ", Signature("picture", "DDS")),
    (0, b"\x76\x2f\x31\x01", Signature("picture", "OpenEXR")),
    (0, b"#?RADIANCE", Signature("picture", "Radiance HDR")),
    (0, b"qoif", Signature("picture", "QOI")),
    (0, b"\x8aMNG", Signature("picture", "MNG")),
    (0, b"\x8bJNG", Signature("picture", "JNG")),
    (0, b"BPG\xfb", Signature("picture", "BPG")),
    (0, b"SIMPLE  =", Signature("picture", "FITS")),
    (0, b"AT&TFORM", Signature("picture", "DjVu")),
    (0, b"\xd7\xcd\xc6\x9a", Signature("picture", "WMF")),
    (40, b" EMF", Signature("picture", "EMF")),
    (128, b"DICM", Signature("picture", "DICOM")),
    (0, b"FUJIFILMCCD-RAW", Signature("picture", "camera raw")),
    (0, b"IIRO", Signature("picture", "camera raw")),
    (0, b"IIU\0", Signature("picture", "camera raw")),
    (0, b"%PDF-", Signature("document", "PDF")),
    (0, b"%!PS", Signature("document", "PostScript")),
    (0, b"\xc5\xd0\xd3\xc6", Signature("document", "PostScript")),
    (0, b"{\\rtf", Signature("document", "RTF")),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Signature("document", "Microsoft Office")),
    (257, b"ustar", _TAR),
    (0, b"\x1f\x8b", Signature("archive", "gzip")),
    (0, b"\xfd7zXZ\0", Signature("archive", "xz")),
    (0, b"PK\x03\x04", _ZIP),
    (0, b"PK\x05\x06", _ZIP),
    (0, b"PK\x07\x08", _ZIP),
    (0, b"7z\xbc\xaf\x27\x1c", Signature("archive", "7z")),
    (0, b"Rar!\x1a\x07", Signature("archive", "RAR")),
    (0, b"BZh", Signature("archive", "bzip2")),
    (0, b"\x28\xb5\x2f\xfd", Signature("archive", "Zstandard")),
    (0, b"\x04\x22\x4d\x18", Signature("archive", "LZ4")),
    (0, b"MSCF", Signature("archive", "CAB")),
    (0, b"\x1a\x45\xdf\xa3", Signature("video", "Matroska or WebM")),
    (0, b"FLV\x01", Signature("video", "FLV")),
    (0, b"OggS", Signature("video", "Ogg")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Signature("video", "Windows Media")),
    (0, b"\0\0\x01\xba", _MPEG),
    (0, b"\0\0\x01\xb3", _MPEG),
    (4, b"moov", _QUICKTIME),
    (4, b"mdat", _QUICKTIME),
    (4, b"wide", _QUICKTIME),
    (4, b"pnot", _QUICKTIME),
    (0, b"ID3", Signature("audio", "MP3")),
    (0, b"fLaC", Signature("audio", "FLAC")),
)

_RIFF = {
    b"WEBP": Signature("picture", "WEBP"),
    b"AVI ": Signature("video", "AVI"),
    b"WAVE": Signature("audio", "WAV"),
}
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2"}

_MARKUP: tuple[tuple[tuple[bytes, ...], Signature], ...] = (
    ((b"<svg",), Signature("picture", "SVG")),
    ((b"<!doctype html", b"<html", b"<head", b"<body"), Signature("text", "an HTML page")),
    ((b"<?xml",), Signature("text", "an XML text")),
    ((b"version https://git-lfs",), Signature("text", "a pointer of Git LFS, not the file itself")),
    ((b"/* xpm */",), Signature("picture", "XPM")),
    ((b"#define ",), Signature("picture", "XBM")),
)
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT = frozenset(range(0x20, 0x7F)) | frozenset(b"\t\n\r\f\x1b") | frozenset(range(0x80, 0x100))
_TEXT_LOOKED_AT = 64  # bytes


def identify(data: bytes) -> Signature | None:
    """Return the format that the first bytes of a file identify; None if they identify none."""
    head = bytes(data[:_HEAD])
    for offset, magic, signature in _MAGIC:
        if head.startswith(magic, offset):
            return signature
    return _riff(head) or _boxed(head) or _text(head) or _short(head)


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Return width and height, in px, from a WEBP's header: libwebp allocates memory for them when it opens it."""
    head, kind = data[:30], data[12:16]
    if len(head) < 30:
        return None
    if kind == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if kind == b"VP8L":
        packed = int.from_bytes(head[21:25], "little")
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(head[26:28], "little") & 0x3FFF, int.from_bytes(head[28:30], "little") & 0x3FFF
    return None


def _riff(head: bytes) -> Signature | None:
    return _RIFF.get(head[8:12]) if head.startswith(b"RIFF") else None


def _boxed(head: bytes) -> Signature | None:
    """Identify formats that begin with an ISO media `ftyp` box, by its brand or its compatible brands."""
    if head[4:8] != b"ftyp":
        return None
    length = min(int.from_bytes(head[:4], "big"), len(head))
    major, alike = head[8:12], {head[at : at + 4] for at in range(16, length - 3, 4)}
    if major in _AVIF_BRANDS or (major in {b"mif1", b"msf1"} and alike & _AVIF_BRANDS):
        return Signature("picture", "AVIF")
    if major in _HEIF_BRANDS:
        return Signature("picture", "HEIF")
    if major == b"crx ":
        return Signature("picture", "camera raw")
    if major in {b"M4A ", b"M4B "}:
        return Signature("audio", "MPEG-4")
    return Signature("video", "MPEG-4 or QuickTime")


def _text(head: bytes) -> Signature | None:
    start = head.removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    for beginnings, signature in _MARKUP:
        if start.startswith(beginnings):
            return Signature("picture", "SVG") if signature.name == "an XML text" and b"<svg" in start else signature
    if len(start) > 2 and start[:1] == b"p" and start[1:2] in b"1234567fy" and start[2:3].isspace():
        return Signature("picture", "PNM")
    return Signature("text", "text") if start and _TEXT.issuperset(head[:_TEXT_LOOKED_AT]) else None


def _short(head: bytes) -> Signature | None:
    """Identify formats with a signature of two bytes, or of single bytes far apart: tested last, after text."""
    if head.startswith(b"BM"):
        return Signature("picture", "BMP")
    if head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G":
        return Signature("video", "MPEG transport stream")
    return None
