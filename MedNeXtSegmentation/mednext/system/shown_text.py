"""Make foreign text (names of files, models, series) safe to show on a terminal, in a table or in a panel.

Such text may contain terminal control sequences, lines that look like ours, characters that are invisible or
reverse the direction of writing, formulas, or HTML. Invisible characters are escaped, as `\\x1b` or
`\\u202e`, and bytes that do not decode as `\\xe9`: nothing is lost silently.
"""

from __future__ import annotations

import html
import re
import unicodedata

# Control, format (direction, zero width), surrogates, ends of lines and paragraphs; and blank "letters".
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_BLANK = "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5"
_HALF = re.compile("[\ud800-\udfff]")
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
# A spreadsheet takes a cell with one of these first, also in full width, for a formula; it drops a quote.
_FORMULA = ("=", "+", "-", "@", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def shown(text: object) -> str:
    """One line of visible characters; line ends and tabs become spaces. Idempotent."""
    return "".join(" " if char in _SPACES else _visible(char) for char in str(text))


def shown_lines(text: object) -> str:
    """Like `shown`, but keep the lines of the text."""
    return "\n".join(map(shown, str(text).split("\n")))


def encodable(text: str) -> str:
    """The text with lone surrogates escaped: no encoding has them, and JSON readers differ about them."""
    return _HALF.sub(lambda half: _visible(half[0]), text)


def csv_cell(text: object) -> str:
    """One line that no spreadsheet takes for a formula; `from_csv_cell` is the inverse."""
    line = shown(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def from_csv_cell(cell: str) -> str:
    """The line from which `csv_cell` made this cell."""
    return cell.removeprefix("'")


def rich_text(text: object) -> str:
    """The text for a widget that shows HTML, such as a label of Qt, with its own HTML escaped."""
    return html.escape(shown_lines(text)).replace("\n", "<br>")


def tool_tip(text: object) -> str:
    """The text for a tool tip or message box, always as HTML: Qt would guess whether it is."""
    return f"<qt>{rich_text(text)}</qt>"


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _UNSEEN and char not in _BLANK:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # Python's surrogate for a byte that does not decode
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
