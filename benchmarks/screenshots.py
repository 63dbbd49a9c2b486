"""Screenshots drawn around photographs, as ground truth for `benchmarks/near.py`: a CSV as make_near.py writes it.

    python benchmarks/screenshots.py apps   --pictures DIR --out DIR --truth CSV --seed 1 [--number 500] [--again 0.2]
    python benchmarks/screenshots.py phones --pictures DIR --out DIR --truth CSV --seed 1 [--number 200]

apps    five apps (chat, feed, profile, browser, settings), each with its own frame, text and colours, the same on all
        of its screenshots; each shows a different photograph, at 12, 34 and 50 % of the screen. No two are one picture,
        except with `again`: the same screenshot re-encoded, at another size.
phones  a phone's screenshot of a photograph in full screen: status bar with a clock and icons, dark or light, with or
        without the viewer's own bars, the photograph at full width; several screens and scales, JPEG or PNG. The
        photographs are written too, as the originals of the screenshots.

Same seed, same files.
"""

import argparse
import csv
import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, ImageOps

SHARES = (0.12, 0.34, 0.5)  # of the screen
WORDS = ("see", "you", "at", "the", "market", "on", "sunday", "then", "we", "walk", "along", "river", "tea", "again")

Colour = str | tuple[int, int, int]
Box = tuple[int, int, int, int]
Row = tuple[str, str, str, str]  # path, of, transform, label


class Screen:
    """A drawing surface with the elements of apps; `rng` draws words, the same for each screenshot of an app."""

    def __init__(self, size: tuple[int, int], ground: Colour, rng: random.Random) -> None:
        """Begin with a plain ground."""
        self.image = Image.new("RGB", size, ground)
        self.draw = ImageDraw.Draw(self.image)
        self.rng = rng

    def bar(self, box: Box, fill: Colour) -> None:
        """Draw a filled rectangle."""
        self.draw.rectangle(box, fill=fill)

    def text(self, at: tuple[int, int], text: str, size: int, fill: Colour) -> None:
        """Write one line."""
        self.draw.text(at, text, font=ImageFont.load_default(size), fill=fill)

    def lines(self, box: Box, size: int, fill: Colour) -> None:
        """Fill a box with lines of words."""
        for top in range(box[1], box[3] - size, round(size * 1.5)):
            words: list[str] = []
            while self.draw.textlength(" ".join([*words, "walk"]), font=ImageFont.load_default(size)) < box[2] - box[0]:
                words.append(self.rng.choice(WORDS))
            self.text((box[0], top), " ".join(words[:-1]), size, fill)

    def disc(self, x: int, y: int, radius: int, fill: Colour) -> None:
        """Draw a filled circle."""
        self.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)


class App(NamedTuple):
    """`draw(screen, box)` draws everything but the photograph in `box`, whose width / height is `aspect`."""

    size: tuple[int, int]
    ground: Colour
    aspect: float
    left: float  # where the box lies: shares of what is left beside, and above
    top: float
    draw: Callable[[Screen, Box], None]

    def box(self, share: float) -> Box:
        """Return where the photograph lies (px) if it is to take `share` of the screen."""
        width, height = self.size
        wide = min(round((share * width * height * self.aspect) ** 0.5), round(0.94 * width))
        high = min(round(share * width * height / wide), round(0.74 * height))
        left, top = round((width - wide) * self.left), round((height - high) * self.top)
        return left, top, left + wide, top + high

    def screenshot(self, photo: Image.Image, share: float) -> Image.Image:
        """Return the app's screen with the photograph, cut to fit."""
        words = random.Random(str(self.size))  # noqa: S311 -- the same words on each
        screen, box = Screen(self.size, self.ground, words), self.box(share)
        self.draw(screen, box)
        screen.image.paste(ImageOps.fit(photo, (box[2] - box[0], box[3] - box[1]), Image.Resampling.LANCZOS), box)
        return screen.image


def _chat(screen: Screen, box: Box) -> None:
    width, height = screen.image.size
    screen.bar((0, 0, width, 44), "#075e54")
    screen.disc(26, 22, 14, "#c8d6d3")
    screen.text((50, 13), "Weekend walkers", 15, "white")
    for top in range(56, box[1] - 34, 40):
        screen.draw.rounded_rectangle((10, top, width * 2 // 3, top + 32), 8, fill="white")
        screen.lines((18, top + 4, width * 2 // 3 - 8, top + 30), 10, "#222")
    screen.draw.rounded_rectangle((box[0] - 5, box[1] - 5, box[2] + 5, box[3] + 5), 6, fill="#dcf8c6")
    for top in range(box[3] + 12, height - 80, 40):
        screen.draw.rounded_rectangle((width // 3, top, width - 10, top + 32), 8, fill="#dcf8c6")
        screen.lines((width // 3 + 8, top + 4, width - 18, top + 30), 10, "#222")
    screen.bar((0, height - 40, width, height), "#f0f0f0")
    screen.draw.rounded_rectangle((8, height - 34, width - 50, height - 6), 14, fill="white")
    screen.disc(width - 24, height - 20, 14, "#128c7e")


def _feed(screen: Screen, box: Box) -> None:
    width, height = screen.image.size
    screen.bar((0, 0, width, 27), "#263c78")
    screen.text((10, 7), "My Photos", 11, "white")
    screen.disc(22, box[1] - 18, 10, "#c75b39")
    screen.text((40, box[1] - 24), "anna.walks", 10, "#333")
    for number in range(3):
        screen.disc(20 + 26 * number, box[3] + 16, 8, ("#d33", "#888", "#888")[number])
    for top in range(box[3] + 34, height - 40, 34):
        screen.disc(20, top + 10, 9, "#c75b39")
        screen.bar((40, top, width - 20, top + 6), "#a8a8b0")
        screen.bar((40, top + 11, width - 60, top + 15), "#d0d0d8")
    screen.bar((0, height - 20, width, height), "#e0e0e6")


def _profile(screen: Screen, box: Box) -> None:
    width, height = screen.image.size
    screen.disc(54, 52, 34, "#7b4fa3")
    screen.text((104, 22), "marta_k", 18, "#eee")
    screen.text((104, 48), "128  posts   3,204  followers", 12, "#aaa")
    screen.lines((104, 66, width - 10, 92), 10, "#888")
    tile = width // 3
    for number in range(3 * (height // tile)):
        x, y = number % 3 * tile, 104 + number // 3 * tile
        level = 40 + 13 * (number * 7 % 5)
        screen.bar((x + 1, y + 1, x + tile - 2, y + tile - 2), (level, level + 8, level + 20))
        screen.disc(x + tile // 2, y + tile // 2, tile // 5, (level + 60, level + 30, level + 20))
    screen.bar((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), "#111")
    screen.bar((0, height - 44, width, height), "#1c1c1c")
    for number in range(5):
        screen.disc(width * (2 * number + 1) // 10, height - 22, 9, "#ddd" if number == 4 else "#777")


def _browser(screen: Screen, box: Box) -> None:
    width, height = screen.image.size
    screen.bar((0, 0, width, 56), "#dee1e6")
    screen.draw.rounded_rectangle((70, 28, width - 60, 50), 11, fill="white")
    screen.text((86, 32), "https://gazette.example/garden/spring-is-here", 12, "#333")
    screen.text((20, 6), "The Garden Gazette", 12, "#222")
    screen.text((24, 70), "Spring is here, says everyone", 24, "#111")
    screen.lines((24, 104, width - 24, 134), 11, "#444")
    screen.lines((24, max(140, box[1]), box[0] - 16, height - 10), 11, "#444")
    screen.lines((box[0], box[3] + 10, box[2], height - 10), 11, "#444")
    screen.bar((box[2] + 12, box[1], width - 8, height - 20), "#fbe7b0")


def _settings(screen: Screen, box: Box) -> None:
    width, height = screen.image.size
    screen.text((20, 16), "Wallpaper & style", 24, "#1b1b1f")
    rows = [*range(64, box[1] - 52, 54), *range(box[3] + 14, height - 50, 54)]
    for number, top in enumerate(rows):
        screen.draw.rounded_rectangle((14, top, width - 14, top + 46), 10, fill="white")
        screen.disc(38, top + 23, 12, ("#4a7", "#47a", "#a74", "#a47")[number % 4])
        screen.lines((62, top + 6, width - 90, top + 24), 12, "#222")
        screen.lines((62, top + 26, width - 110, top + 42), 9, "#888")
        screen.draw.rounded_rectangle((width - 66, top + 14, width - 30, top + 32), 9, fill="#6750a4")
        screen.disc(width - 40, top + 23, 7, "white")


APPS = {
    "chat": App((360, 640), "#e5ddd5", 1.3, 0.9, 0.45, _chat),
    "feed": App((240, 400), "#f4f5f8", 1.45, 0.5, 0.22, _feed),
    "profile": App((400, 800), "#111111", 0.85, 0.5, 0.6, _profile),
    "browser": App((800, 600), "#ffffff", 1.5, 0.85, 0.72, _browser),
    "settings": App((320, 690), "#f2eff7", 0.7, 0.5, 0.5, _settings),
}


def phone(photo: Image.Image, rng: random.Random) -> Image.Image:
    """Return a phone's screen that shows the photograph at full width, between bars."""
    aspect, scale = rng.choice((16 / 9, 18 / 9, 19.5 / 9, 20 / 9, 21 / 9)), rng.choice((180, 240, 360, 540, 720, 1080))
    width, height = scale, round(scale * aspect)
    dark = rng.random() < 0.7
    ground: Colour = rng.choice(("black", "#101014")) if dark else rng.choice(("white", "#fafafa", "#f2f2f2"))
    ink: Colour = "white" if dark else "#202124"
    screen = Screen((width, height), ground, rng)
    unit = width / 360
    bars = rng.random() < 0.5
    bar = _status(screen, unit, ink)
    if bars:
        _viewer(screen, unit, ink, bar)
    _navigation(screen, unit, ink)
    high = min(round(width * photo.height / photo.width), round(height - 2 * (bar + 56 * unit)))
    wide = min(width, round(high * photo.width / photo.height))
    shown = photo.resize((wide, high), Image.Resampling.LANCZOS)
    screen.image.paste(shown, ((width - wide) // 2, (height - high) // 2 + round(rng.choice((0, 0, -8, 8)) * unit)))
    return screen.image


def _status(screen: Screen, unit: float, ink: Colour) -> int:
    """Draw the status bar; return its height (px)."""
    rng, width = screen.rng, screen.image.width
    high = round(rng.uniform(22, 34) * unit)
    if rng.random() < 0.35:
        screen.bar((0, 0, width, high), rng.choice(("#000000", "#1f1f23", "#e8e8ee", "#ffffff", "#263c78")))
        ink = "white" if sum(screen.image.getpixel((1, 1))) < 384 else "#202124"  # type: ignore[arg-type]
    size = max(6, round(rng.uniform(11, 15) * unit))
    top = (high - size) // 2
    screen.text(
        (round(rng.choice((10, 20, 150)) * unit), top), f"{rng.randint(0, 23)}:{rng.randint(0, 59):02d}", size, ink
    )
    right = width - round(12 * unit)
    for _ in range(rng.randint(1, 5)):
        side = round(rng.uniform(7, 11) * unit)
        colour = ink if rng.random() < 0.7 else rng.choice(("#4caf50", "#f44336", "#ffb300"))
        shape = screen.draw.rectangle if rng.random() < 0.5 else screen.draw.ellipse
        shape((right - side, top + 1, right, top + 1 + side), fill=colour)
        right -= side + round(rng.uniform(3, 7) * unit)
    return high


def _viewer(screen: Screen, unit: float, ink: Colour, below: int) -> None:
    """Draw a viewer's title under the status bar, and its buttons at the bottom."""
    rng, (width, height) = screen.rng, screen.image.size
    screen.text((round(16 * unit), below + round(12 * unit)), "<", max(7, round(18 * unit)), ink)
    title = rng.choice(("IMG_2041.jpg", "Yesterday, 14:03", "3 of 128", "Camera roll"))
    screen.text((round(52 * unit), below + round(14 * unit)), title, max(7, round(15 * unit)), ink)
    for number in range(4):
        x, y, side = width * (2 * number + 1) // 8, height - round(74 * unit), round(9 * unit)
        screen.draw.ellipse((x - side, y - side, x + side, y + side), outline=ink, width=max(1, round(2 * unit)))


def _navigation(screen: Screen, unit: float, ink: Colour) -> None:
    rng, (width, height) = screen.rng, screen.image.size
    middle, side = height - round(18 * unit), round(6 * unit)
    if rng.random() < 0.5:
        screen.bar((width // 2 - round(55 * unit), middle, width // 2 + round(55 * unit), middle + side // 2), ink)
        return
    for number in range(3):
        x = width * (number + 1) // 4
        screen.draw.rectangle((x - side, middle - side, x + side, middle + side), outline=ink)


def encode(image: Image.Image, rng: random.Random) -> tuple[str, bytes]:
    """Return an extension and the picture, as JPEG or (one in three) PNG."""
    buffer = io.BytesIO()
    if rng.random() < 1 / 3:
        image.save(buffer, "PNG")
        return "png", buffer.getvalue()
    image.save(buffer, "JPEG", quality=rng.randint(70, 92))
    return "jpg", buffer.getvalue()


class Writer:
    """Writes pictures below a folder, and records their ground truth."""

    def __init__(self, out: Path) -> None:
        """Start without pictures."""
        self.out = out
        self.rows: list[Row] = []

    def put(self, name: str, data: bytes, of: str, transform: str, label: str) -> str:
        """Write one picture under its label; return its path within the folder."""
        path = f"{label}/{name}"
        (self.out / path).parent.mkdir(parents=True, exist_ok=True)
        (self.out / path).write_bytes(data)
        self.rows.append((path, of, transform, label))
        return path

    def finish(self, truth: Path) -> None:
        """Write the truth."""
        with truth.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "of", "transform", "label"), *self.rows])


def open_photo(photo: Path) -> Image.Image:
    """Return a photograph's pixels."""
    return Image.open(photo).convert("RGB")


def draw_apps(photos: Sequence[Path], options: argparse.Namespace, rng: random.Random, writer: Writer) -> None:
    """Write `number` screenshots, photographs and shares in turn over the apps; `again` of them twice."""
    for number, photo in enumerate(photos[: options.number]):
        app, share = sorted(APPS)[number % len(APPS)], SHARES[number // len(APPS) % len(SHARES)]
        shot = APPS[app].screenshot(open_photo(photo), share)
        extension, data = encode(shot, rng)
        name = f"{app}-{round(100 * share)}-{number:04d}"
        path = writer.put(f"{name}.{extension}", data, "", "original", app)
        if rng.random() < options.again:
            half = shot.resize((round(shot.width * 0.7), round(shot.height * 0.7)), Image.Resampling.LANCZOS)
            extension, data = encode(half, rng)
            writer.put(f"{name}-again.{extension}", data, path, f"again-{round(100 * share)}", app)


def draw_phones(photos: Sequence[Path], options: argparse.Namespace, rng: random.Random, writer: Writer) -> None:
    """Write `number` photographs and a phone's screenshot of each."""
    for number, photo in enumerate(photos[: options.number]):
        path = writer.put(f"p{number:04d}.jpg", photo.read_bytes(), "", "original", photo.parent.name)
        extension, data = encode(phone(open_photo(photo), rng), rng)
        writer.put(f"s{number:04d}.{extension}", data, path, "phone", photo.parent.name)


def main() -> None:
    """Draw one set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True)
    for name, draw, number in (("apps", draw_apps, 500), ("phones", draw_phones, 200)):
        kind = kinds.add_parser(name)
        kind.add_argument("--pictures", type=Path, required=True)
        kind.add_argument("--out", type=Path, required=True)
        kind.add_argument("--truth", type=Path, required=True)
        kind.add_argument("--seed", type=int, default=1)
        kind.add_argument("--number", type=int, default=number)
        kind.add_argument("--again", type=float, default=0.2)
        kind.set_defaults(draw=draw)
    options = parser.parse_args()
    rng = random.Random(options.seed)  # noqa: S311 -- a drawing, not a secret
    photos = sorted(options.pictures.rglob("*.jpg"))
    rng.shuffle(photos)
    writer = Writer(options.out)
    options.draw(photos, options, rng, writer)
    writer.finish(options.truth)
    print(len(writer.rows), "files")


if __name__ == "__main__":
    main()
