"""The markup of a picture that is blurred and grey until a person shows it.

The stylesheet blurs by `--blur` and takes colour away by `--grey`; assets/pictures.js changes both, remembers them in
the browser, and shows one picture: while a pointer is held on it, or the key V while it has the focus.
"""

from markupsafe import Markup, escape

HOLD, TOGGLE = "hold", "toggle"


def blurred(source: str, name: str, *, show: str = HOLD, lazy: bool = True) -> Markup:
    """Return a blurred picture.

    Args:
        source: Its address; `data:image/jpeg;base64,...` in a page that is a file.
        name: What a screen reader calls it; nothing of it is markup.
        show: `hold` shows it while it is held; `toggle` at a click, until the next one.
        lazy: Load it only when it is about to be seen.

    """
    loading = Markup(' loading="lazy"') if lazy else Markup()
    return Markup(
        '<button type="button" class="thumb" data-show="{show}" aria-pressed="false" aria-label="{name}">'
        '<img src="{source}" alt="" decoding="async" draggable="false"{loading}></button>'
    ).format(show=show, name=escape(name), source=escape(source), loading=loading)
