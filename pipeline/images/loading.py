"""Open bytes as a Pillow image, and load its pixels: the only module that opens a picture.

`open_guarded` opens a file of an allowed format by its first bytes; `load_pixels` decodes it within the free memory.
Call them on untrusted bytes inside `images.sandbox` workers only: a decoder may hang, crash or eat memory.
"""

import io
import mmap
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple, TypeVar

from PIL import AvifImagePlugin, Image, ImageFile, JpegImagePlugin, UnidentifiedImageError

from pipeline.images import signatures
from pipeline.images.jpeg_frame import FrameHeader, read_frame
from pipeline.images.limits import FORMATS, Limits, Rejected
from pipeline.images.signatures import Signature

Result = TypeVar("Result")

BYTES_PER_PIXEL = 4  # of RGB, as Pillow holds it
_READERS = {"HEIF": "pillow-heif"}  # formats that need another package; the extra has the format's name
# Bytes per pixel, opaque and transparent, that these need at least: their libraries report a picture as broken when
# memory is short.
_CODEC_BYTES = {"WEBP": (12, 12), "AVIF": (8, 12), "HEIF": (7, 10)}
_SMALL_ALLOCATION = 2**24  # bytes

# Everything that opens pictures is imported with this module: a worker's memory limit counts from there.
for _plugin in ("Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP"):
    import_module(f"PIL.{_plugin}ImagePlugin")
AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # a thread's stack and heap count against that limit
try:
    import pillow_heif
except ImportError:  # the extra `heif`
    pillow_heif = None  # type: ignore[assignment]
else:
    pillow_heif.options.DECODE_THREADS = 1
    pillow_heif.options.THUMBNAILS = False
    pillow_heif.register_heif_opener()


def open_guarded(
    function: Callable[[Image.Image, Limits], Result], data: bytes, limits: Limits | None = None
) -> Result:
    """Apply `function` to the opened, not yet loaded picture and the limits, and return its result.

    Raises:
        Rejected: `data` is no picture of `limits.formats`, or `function` raised anything but MemoryError.
        MemoryError: it needs more than this process may use.

    """
    limits = limits or Limits()
    opener = _opener(data, limits)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own bomb warning: the check of the size is stricter
            with Image.open(io.BytesIO(data), formats=(opener,)) as image:
                return function(image, limits)
    except (Rejected, MemoryError):
        raise
    except UnidentifiedImageError:
        detail = f"it begins like a {opener}, but its header is damaged or of an unknown kind"
        raise Rejected("broken", detail) from None
    except Image.DecompressionBombError as error:
        raise Rejected("too_many_pixels", _one_line(error)) from None
    except Exception as error:  # noqa: BLE001 -- hostile files raise anything: struct.error, IndexError, SyntaxError...
        raise Rejected("broken", _one_line(error)) from None


def _opener(data: bytes, limits: Limits) -> str:
    """Return Pillow's name of the format that `data` has; raise Rejected if it is not one of `limits.formats`."""
    if not data:
        raise Rejected("empty", "the file has no bytes")
    signature = signatures.identify(data)
    if signature is None:
        raise Rejected("not_a_picture", f"it begins like no {', '.join(limits.formats)}")
    if signature.kind == "text":
        raise Rejected("not_a_picture", f"it is {signature.name}")
    if signature.name not in limits.formats:
        raise Rejected("unsupported_format", _unsupported_detail(signature))
    if signature.name == "HEIF" and not _heif_opens():
        raise Rejected("unsupported_format", "HEIF (HEIC): pip install 'nsfw-pipeline[heif]' adds what reads it")
    if signature.name == "WEBP" and (canvas := signatures.webp_canvas(data)):
        _check_pixels(*canvas, limits)
        require_memory(_CODEC_BYTES["WEBP"][0] * canvas[0] * canvas[1])
    return signature.name


def _unsupported_detail(signature: Signature) -> str:
    """Describe the format of a file that is not accepted, and what to do instead, if there is something."""
    name, kind = signature.name, signature.kind
    if name in FORMATS:
        return f"{name}: it is none of catalog.formats"
    if name in {"tar", "gzip", "xz"}:
        return f"{name} archive: `nsfw score` takes .tar, .tar.gz and .tar.xz, under these names"
    if kind == "archive":
        return f"{name} archive: unpack it, or pack it as .tar, which `nsfw score` takes"
    return f"{kind} ({name})" if kind in {"video", "audio"} else name


def _heif_opens() -> bool:
    """Whether the extra `heif` is installed."""
    return pillow_heif is not None


def libraries() -> str:
    """Return the names and versions of the decoding libraries, on which a result may depend."""
    names = ("pillow", *_READERS.values())
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


class Header(NamedTuple):
    """What is known of a picture before its pixels are loaded."""

    format: str
    mode: str


def read_header(image: Image.Image, limits: Limits) -> Header:
    """Return the header of an opened picture, without loading its pixels.

    EXIF is not read here: Pillow would load a PNG to find it, and ignore that this failed.

    Raises:
        Rejected: its size is not within the limits.

    """
    _check_size(*image.size, limits)
    return Header(str(image.format), image.mode)


def load_pixels(image: Image.Image, frame: FrameHeader | None = None) -> None:
    """Decode the current frame of `image`.

    `frame` is its `jpeg_frame`, which is read here if it is not given.

    Raises:
        MemoryError: it needs more than this process may use.
        Exception: whatever Pillow raises at damage, or Rejected.

    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    frame = frame or jpeg_frame(image)
    room = _CODEC_BYTES.get(str(image.format), (0, 0))[image.mode == "RGBA"] * image.width * image.height
    if buffered := libjpeg_bytes(image, frame):
        room = buffered + BYTES_PER_PIXEL * image.width * image.height
    if room:
        require_memory(room)
    image.load()


def jpeg_frame(image: Image.Image) -> FrameHeader | None:
    """Return the frame header of a JPEG that is not loaded yet, None for other formats. Draft only if it is `scalable`.

    Raises:
        Rejected: libjpeg reads another size than Pillow, so it would write its rows into a buffer of the wrong size.

    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile) or not image.tile or not isinstance(image.fp, io.BytesIO):
        return None
    frame = read_frame(image.fp.getvalue(), image.tile[0].offset)
    scale = image.decoderconfig[0] if image.decoderconfig else 1
    if frame is None or image.size != (-(-frame.width // scale), -(-frame.height // scale)):
        raise Rejected("broken", "its headers contradict each other")
    return frame


def libjpeg_bytes(image: Image.Image, frame: FrameHeader | None) -> int:
    """Return the bytes that libjpeg buffers besides the pixels of a JPEG of several scans; 0 if they are few."""
    if (
        frame is None
        or frame.width * frame.height < _SMALL_ALLOCATION // 8
        or not isinstance(image, JpegImagePlugin.JpegImageFile)
    ):
        return 0
    return frame.buffered_bytes(image.fp.getvalue()) if isinstance(image.fp, io.BytesIO) else 0


def count_frames(image: Image.Image) -> int:
    """Return the number of frames of an animation, or of pictures in a file; 1 if it is damaged after the first.

    For a GIF this reads the rest of the file: call it last.
    """
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 -- damage in a later frame does not affect the first
        return 1


def require_memory(size: int) -> None:
    """Raise MemoryError if this process may not allocate `size` more bytes. It uses no memory; small sizes pass."""
    if size < _SMALL_ALLOCATION:
        return
    try:
        mmap.mmap(-1, size).close()
    except OSError:
        raise MemoryError from None


def _check_size(width: int, height: int, limits: Limits) -> None:
    _check_pixels(width, height, limits)
    if min(width, height) < limits.min_side:
        raise Rejected("too_small", f"{width} x {height}, a side under {limits.min_side} px")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise Rejected("too_elongated", f"{width} x {height}, over {limits.max_aspect:g} to 1")


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise Rejected("too_many_pixels", f"{width} x {height}, more than {limits.max_pixels:,} in all")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
