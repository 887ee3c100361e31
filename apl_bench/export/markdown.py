"""Markdown from a template, with the names that others chose kept from ending it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apl_bench.wording import safe

if TYPE_CHECKING:
    import jinja2


def template(text: str) -> jinja2.Template:
    """A template whose filter `code` is what every text of others goes through."""
    import jinja2  # 30 ms that only a card needs

    environment = jinja2.Environment(  # no HTML: Markdown, whose texts of others are code
        autoescape=False, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters["code"] = code
    return environment.from_string(text)


def code(text: object) -> str:
    """A text as code, on one line, in a paragraph or a cell of a table: nothing in it can end the code."""
    return "`" + safe(text).replace("`", "'").replace("|", "\\|") + "`"
