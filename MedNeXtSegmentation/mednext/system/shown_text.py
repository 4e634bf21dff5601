"""How a text of strangers is shown: names of files, models, series; on a terminal, in a table, in a panel.

Such a text may hold anything: sequences that steer a terminal, lines that look like ours, signs that turn the
direction of writing or cannot be seen, formulas, HTML. Everything that cannot be seen is written out, as
`\\x1b` or `\\u202e`, and a byte that is no text on this computer as `\\xe9`: nothing is lost silently.
"""

from __future__ import annotations

import html
import re
import unicodedata

# Control, format (direction, width 0), half of a pair, ends of lines and paragraphs; and blank "letters".
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_BLANK = "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\u17b5"
_HALF = re.compile("[\ud800-\udfff]")
_SPACES = "\t\n\v\f\r\x85\u2028\u2029"
# A spreadsheet calculates what begins with one of these, also in full width; a quote it would drop.
_FORMULA = ("=", "+", "-", "@", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def shown(text: object) -> str:
    """One line of visible characters; ends of lines and tabs become spaces. Twice does what once does."""
    return "".join(" " if char in _SPACES else _visible(char) for char in str(text))


def shown_lines(text: object) -> str:
    """The same for a text of several lines, which stay."""
    return "\n".join(map(shown, str(text).split("\n")))


def encodable(text: str) -> str:
    """The text as it is, but for half surrogate pairs: no encoding has them, and JSON's readers differ."""
    return _HALF.sub(lambda half: _visible(half[0]), text)


def csv_cell(text: object) -> str:
    """One line that no spreadsheet takes for a formula; `from_csv_cell` gives the line back."""
    line = shown(text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA) else line


def from_csv_cell(cell: str) -> str:
    """The line that `csv_cell` was given."""
    return cell.removeprefix("'")


def rich_text(text: object) -> str:
    """The text where HTML is shown, as in a label of Qt: it does not become HTML itself."""
    return html.escape(shown_lines(text)).replace("\n", "<br>")


def tool_tip(text: object) -> str:
    """The text as a tool tip or in a message box: Qt guesses whether one is HTML, so this one always is."""
    return f"<qt>{rich_text(text)}</qt>"


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _UNSEEN and char not in _BLANK:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is no text
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
