"""What makes an HTML page whole: it loads nothing from anywhere, so it opens without a network."""

import re
from html.parser import HTMLParser

# Attributes from which a browser loads on its own; an `href` of <a> is followed only by a click.
_LOADING = {
    "src": None,
    "srcset": None,
    "poster": None,
    "background": None,
    "data": {"object"},
    "href": {"link", "image", "use", "feimage"},
    "xlink:href": {"image", "use", "feimage", "script"},
}
_IN_STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""", re.IGNORECASE)
_IN_SCRIPT = re.compile(r"""(?:\bimport\b\s*\(?|\bfrom)\s*["']((?:\w+:)?//[^"']+)["']""")


def outside_references(page: str) -> list[str]:
    """Every address that the page would load something from: all but `data:` and places inside the page itself."""
    parser = _Loader()
    parser.feed(page)
    parser.close()
    return sorted({address for address in parser.addresses if address and not address.startswith(("data:", "#"))})


class _Loader(HTMLParser):
    """Collects what a browser loads for a page: by attribute, by style and by a script's imports."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        for name, value in attrs:
            if name == "style":
                self.addresses += _IN_STYLE.findall(value or "")
            elif name == "srcset":
                self.addresses += [part.split()[0] for part in (value or "").split(", ") if part.strip()]
            elif name in _LOADING and tag in (_LOADING[name] or {tag}):
                self.addresses.append((value or "").strip())

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "style":
            self.addresses += _IN_STYLE.findall(data)
        elif self._inside == "script":
            self.addresses += _IN_SCRIPT.findall(data)
