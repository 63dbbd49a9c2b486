"""The program written beside an exported model, which its users need neither this project nor TensorFlow to run.

docs/export.md shows it; a test runs it from there.
"""

from importlib.metadata import version

from pipeline.exporting.formats import RUNTIMES, Format

FILE = "classify.py"
REQUIREMENTS = "requirements.txt"

_HEAD = '''"""What a model says of pictures. pip install -r requirements.txt; python classify.py a.jpg b.png"""
import io, json, sys
from pathlib import Path
import numpy as np
from PIL import Image, ImageOps
{imports}
HERE = Path(__file__).parent
SPEC = json.loads((HERE / "export.json").read_text(encoding="utf-8"))

def scales(data):
    """Whether it is a JPEG that libjpeg decodes at a reduced size; of lossless ones it would write past the picture."""
    at = 2
    while data[at:at + 1] == b"\\xff" and not 0xC0 <= data[at + 1] <= 0xC2 and data[at + 1] != 0xDA:
        at += 2 + int.from_bytes(data[at + 2:at + 4], "big")  # to the next marker
    return data[at:at + 1] == b"\\xff" and data[at + 1] != 0xDA

def squares(file):
    """A picture, or at most max_frames frames of an animation, evenly spread; each as `square` makes it."""
    data = Path(file).read_bytes()
    with Image.open(io.BytesIO(data), formats=SPEC["formats"]) as image:
        if image.width * image.height > SPEC["max_pixels"]:
            raise ValueError(f"{{file}}: {{image.width}} x {{image.height}} pixels are too many")
        if scales(data):
            image.draft(None, (2 * SPEC["size"], 2 * SPEC["size"]))  # at half its size and so on
        count = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
        for frame in np.linspace(0, count - 1, min(count, SPEC["max_frames"])).astype(int).tolist():
            image.seek(frame)
            yield square(ImageOps.exif_transpose(image))

def square(image):
    """float32 (1, size, size, 3), RGB, 0 to 255: upright, over white, squeezed to a square as in training."""
    if image.mode.startswith("I;16"):  # 16-bit grey keeps its upper 8 bits
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    small = image.convert("RGB").resize((SPEC["size"], SPEC["size"]), Image.Resampling.BILINEAR)
    return np.asarray(small, np.float32)[None]

'''
_RUN: dict[Format, tuple[str, str]] = {
    "onnx": (
        "import onnxruntime",
        """model = onnxruntime.InferenceSession(HERE / SPEC["file"], providers=["CPUExecutionProvider"])
def run(pixels):
    return model.run(["probabilities"], {"pixels": pixels})[0]
""",
    ),
    "litert": (
        "from ai_edge_litert.interpreter import Interpreter",
        """model = Interpreter(str(HERE / SPEC["file"]))
def run(pixels):  # of several pictures: model.resize_tensor_input(0, pixels.shape) first
    model.allocate_tensors()
    model.set_tensor(model.get_input_details()[0]["index"], pixels)
    model.invoke()
    return model.get_tensor(model.get_output_details()[0]["index"])
""",
    ),
    "savedmodel": (
        "import tensorflow",
        """model = tensorflow.saved_model.load(HERE / SPEC["file"])
def run(pixels):
    return model.signatures["serving_default"](pixels=tensorflow.constant(pixels))["probabilities"].numpy()
""",
    ),
}
_TAIL = """
for file in sys.argv[1:]:
    answers = [dict(zip(SPEC["labels"], map(float, run(pixels)[0]))) for pixels in squares(file)]
    unsafe, found = max(((sum(map(each.get, SPEC["unsafe"])), each) for each in answers), key=lambda pair: pair[0])
    limit = SPEC["threshold"]
    decision = None if limit is None else "unsafe" if unsafe >= limit else "safe"
    print(json.dumps({"file": file, **found, "unsafe": unsafe, "decision": decision}))
"""


def text(kind: Format) -> str:
    """Return the program for a format."""
    imports, run = _RUN[kind]
    return _HEAD.format(imports=imports) + run + _TAIL


def requirements(kind: Format) -> str:
    """Return the program's requirements, pinned to the versions that the export was compared with.

    Pillow matters most: 13.0 resizes with other last bits than 12, which changed a probability by 0.018.
    """
    return "".join(f"{package}=={version(package)}\n" for package in ("numpy", "pillow", RUNTIMES[kind]))
