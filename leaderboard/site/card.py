"""A submission's card as HTML: CommonMark with tables, and no raw HTML, pictures or addresses beyond the web."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from apl_bench.wording import safe_lines

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

MAX_LETTERS = 60_000
TOP_LEVEL = 2  # a card stands below a heading of the page: its own # becomes <h3>
RELATION = "nofollow noopener noreferrer ugc"


def card_html(text: str) -> str:
    """HTML that holds nothing but what Markdown makes; what it can't make stands there as text."""
    parser = _parser()
    cut = text[:MAX_LETTERS]
    tokens = parser.parse(safe_lines(cut))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + TOP_LEVEL)}"
        for child in token.children or ():
            if child.type == "link_open":
                child.attrSet("rel", RELATION)
    html = str(parser.renderer.render(tokens, parser.options, {}))
    return (
        html if len(text) <= MAX_LETTERS else f"{html}<p>The card is longer than {MAX_LETTERS} letters: cut here.</p>"
    )


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = (
        MarkdownIt("commonmark", {"html": False, "linkify": False}).enable("table").disable(["image", "html_block"])
    )
    parser.validateLink = _is_of_the_web  # type: ignore[method-assign]
    return parser


def _is_of_the_web(url: str) -> bool:
    return url.startswith(("https://", "http://", "#"))
