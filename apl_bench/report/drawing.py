"""What all figures share: a palette, styles that hold in grey too, files that repeat, and SVG for the inside of a page.

matplotlib is an extra: only modules that draw import it.
"""

from __future__ import annotations

import io
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from apl_bench.wording import safe

# Okabe and Ito's palette (2008), told apart under the common colour blindnesses; yellow left out, black kept for random
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C564B")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BASELINE_STYLE = {"color": "#000000", "marker": "o", "markerfacecolor": "#ffffff", "linestyle": (0, (4, 2))}
RIGHT, WRONG = "#0072B2", "#D55E00"
GREY = "#767676"
MAX_TICKS = 10
DPI = 160
PAPER_DPI = 300
TITLE_LETTERS = 80  # in a line
# Text stays text, and names of parts come from the content, so that the same figure is the same bytes.
_RC: Any = {"svg.fonttype": "none", "svg.hashsalt": "apl-bench"}
_NAMESPACE = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_FONT_SIZE, _FAMILY = "font-size", ("font", "font-family")


def plain(text: str) -> str:
    """A name as matplotlib draws it letter by letter: not as a formula between dollar signs."""
    return safe(text).replace("$", r"\$")


def fill(text: str, letters: int = TITLE_LETTERS) -> str:
    """A title in lines, drawn letter by letter."""
    return textwrap.fill(plain(text), letters)


def styles(names: Sequence[str], baseline: str) -> dict[str, dict[str, Any]]:
    """A colour and a marker for each name, given in order of name, so that they do not depend on the result."""
    found: dict[str, dict[str, Any]] = {baseline: dict(BASELINE_STYLE)}
    for i, name in enumerate(sorted(set(names) - {baseline})):
        found[name] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
    return found


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """Heights at least `gap` apart, nearest in squares to these increasing ones (by pooling adjacent violators)."""
    blocks: list[list[float]] = []
    for i, height in enumerate(heights):
        blocks.append([height - i * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    levels = [float(np.mean(block)) for block in blocks for _ in block]
    return [level + i * gap for i, level in enumerate(levels)]


def save(figure: Figure, path: Path, dpi: int = DPI) -> None:
    """Write a PNG or SVG without the date and the version of what wrote it."""
    metadata = {"Date": None, "Creator": None} if path.suffix.lower() == ".svg" else {"Software": None}
    with matplotlib.rc_context(_RC):
        figure.savefig(path, dpi=dpi, metadata=metadata)


def inline_svg(figure: Figure, prefix: str, label: str) -> str:
    """The figure as an SVG element for the inside of a page whose policy forbids style attributes.

    What matplotlib writes as style becomes attributes, which a style sheet can take over: the page's dark colours do.
    `prefix` begins each name inside, so that figures of one page don't meet; `label` is what a reader of the page who
    can't see is told. Colours stay as they are drawn where no style sheet says otherwise.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(_RC):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())  # our own words: nothing in it was read from elsewhere
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_NAMESPACE}metadata", f"{_NAMESPACE}style"):
                parent.remove(child)
    used = {name for element in root.iter() for name in _references(element)}
    for element in root.iter():
        _plain_element(element, prefix, used)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.attrib |= {"role": "img", "aria-label": label}
    for element in root.iter():
        if element.tag != "text":
            element.text = None
        element.tail = None
        if "d" in element.attrib:
            element.set("d", " ".join(element.attrib["d"].split()))
    return ET.tostring(root, encoding="unicode")


def _references(element: ET.Element) -> Iterator[str]:
    """Names of other elements that this one uses."""
    for name, value in element.attrib.items():
        if name == _HREF:
            yield value.removeprefix("#")
        elif "url(#" in value:
            yield value.split("url(#")[1].split(")")[0]


def _plain_element(element: ET.Element, prefix: str, used: set[str]) -> None:
    """Without namespaces and style attributes, and with a name only where it is used."""
    element.tag = element.tag.removeprefix(_NAMESPACE)
    attributes = dict(element.attrib)
    element.attrib.clear()
    name = attributes.pop("id", "")
    if name in used:
        element.set("id", prefix + name)
    style = attributes.pop("style", "")
    for key, value in [*attributes.items(), *_declarations(style)]:
        if key == _HREF:
            element.set("href", f"#{prefix}{value.removeprefix('#')}")
        else:
            element.set(key, value.replace("url(#", f"url(#{prefix}"))


def _declarations(style: str) -> Iterator[tuple[str, str]]:
    """The declarations of a style attribute; of a font its size alone: the page has its own letters."""
    for declaration in filter(None, map(str.strip, style.split(";"))):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font":
            yield _FONT_SIZE, next(word for word in value.split() if word.endswith("px"))
            if "bold" in value.split():
                yield "font-weight", "bold"
        elif name not in _FAMILY:
            yield name, value
