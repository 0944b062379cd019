r"""Regular expressions of RE2, Envoy's syntax: one that RE2 rejects stops all later updates of a waypoint.

Source: https://github.com/google/re2/wiki/Syntax and re2/parse.cc there. A few that RE2 knows are refused: `\C`, `\Q`.
"""

import re

_MAX_TIMES = 1000  # Source: RE2, kMaxRepeat: the product of nested repeats
_MAX_SIZE = 60_000  # RE2 compiles about 87000 instructions; the sizes below are estimates from above
_MAX_DEPTH = 100  # of groups
_SIZES = {"unicode": 1000, "wide": 20, "character": 4}
_LAST_CODE = 0x10FFFF
_CATEGORIES = "Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs"
_SCRIPTS = """
Arabic Armenian Balinese Bengali Bopomofo Braille Buginese Buhid Canadian_Aboriginal Cham Cherokee Common Coptic
Cuneiform Cypriot Cyrillic Deseret Devanagari Ethiopic Georgian Glagolitic Gothic Greek Gujarati Gurmukhi Han Hangul
Hanunoo Hebrew Hiragana Inherited Kannada Katakana Kharoshthi Khmer Lao Latin Limbu Linear_B Malayalam Mongolian Myanmar
Nko Ogham Old_Italic Old_Persian Oriya Osmanya Phoenician Runic Shavian Sinhala Syriac Tagalog Tagbanwa Tamil Telugu
Thaana Thai Tibetan Tifinagh Ugaritic Yi
"""
_UNICODE = frozenset(f"{_CATEGORIES} {_SCRIPTS}".split())
_CLASSES = "alnum alpha ascii blank cntrl digit graph lower print punct space upper word xdigit"
_POSIX = frozenset(_CLASSES.split())
_ESCAPE = r"""\\(?:[pP](?:\{\^?\w+\}|[A-Z])|x\{[0-9A-Fa-f]+\}|x[0-9A-Fa-f]{2}|0[0-7]{0,2}|[1-7][0-7]{1,2}|.)"""
_PARTS = re.compile(
    rf"""(?P<escape>{_ESCAPE})
    |(?P<set>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\])
    |(?P<flags>\(\?(?P<on>[imsU]*)(?:-(?P<off>[imsU]+))?(?P<end>[:)]))
    |\(\?P?<(?P<named>[A-Za-z0-9_]+)>
    |(?P<group>\((?!\?))
    |(?P<close>\))
    |(?P<times>\{{(?P<least>[0-9]+)(?P<most>,[0-9]*)?\}})(?!\+)
    |(?P<other>\(\?.?|[*+?}}]\+|\[)
    |(?P<anchor>[\^$])
    |(?P<repeat>[*+?])
    |(?P<bar>\|)
    |(?P<character>.)""",
    re.VERBOSE | re.DOTALL,
)
_ITEMS = re.compile(rf"(?P<posix>\[:\^?(?P<name>\w+):\])|(?P<escape>{_ESCAPE})|(?P<character>.)", re.DOTALL)
_LETTERS = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}


def in_python(pattern: str) -> str:
    r"""Return the expression of Python that is equivalent to `pattern`, with \w for each Unicode class.

    Raises:
        re.error: RE2 rejects the expression. Python itself finds the errors that both have in common.
    """
    reader = _Reader()
    text = "".join(map(reader.part, _PARTS.finditer(pattern)))
    reader.close_all()
    return text


def _unknown(text: str) -> re.error:
    return re.error(f"{text} is not in it")


class _Reader:
    """Translator of one expression, with the repeats and the compiled size of each group that is open."""

    def __init__(self) -> None:
        self._groups = [[1, 0]]  # of each open group: the most repeats in it, and its size
        self._last = (1, 0)  # of the last part: the most repeats in it, and its size

    def part(self, found: "re.Match[str]") -> str:
        text, kind = found[0], found.lastgroup or ""
        if found["flags"]:
            return self._flags(found)
        if found["named"]:
            self._open()
            return f"(?P<{found['named']}>"
        if found["escape"]:
            return self._escape(text)
        if found["set"]:
            return self._set(text)
        if found["times"]:
            return self._times(text, int(found["least"][:6]), found["most"])
        if kind in ("group", "close"):
            (self._open if kind == "group" else self._close)()
        elif kind == "other":
            raise _unknown(text)
        elif kind == "anchor":
            self._add("character")
            return f"(?:{text})"  # RE2 repeats an anchor, Python only a group of it
        elif kind == "repeat":
            self._grow(1, 2)
        elif kind == "bar":
            self._last = (1, 0)
        elif kind == "character":
            self._add("wide" if text == "." else "character")
            return re.escape(text) if text == "{" else text
        return text

    def close_all(self) -> None:
        """Raise re.error where the whole expression is too large."""
        if self._groups[0][1] > _MAX_SIZE:
            raise re.error("it is too large for RE2")

    def _open(self) -> None:
        self._groups.append([1, 0])
        if len(self._groups) > _MAX_DEPTH:
            raise re.error(f"more than {_MAX_DEPTH - 1} groups inside each other")

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise re.error("a ) without its (")
        times, size = self._groups.pop()
        self._put(times, size + 2)

    def _add(self, kind: str) -> None:
        self._put(1, _SIZES[kind])

    def _put(self, times: int, size: int) -> None:
        self._last = (times, size)
        group = self._groups[-1]
        group[0], group[1] = max(group[0], times), group[1] + size

    def _grow(self, times: int, factor: int) -> None:
        """Repeat the last part: it counts `times`-fold against RE2's limit, and its size grows by `factor`."""
        before, size = self._last
        self._groups[-1][1] -= size
        self._put(before * times, size * factor)

    def _times(self, text: str, least: int, most: str | None) -> str:
        limit = int(most[1:7] or least) if most else least
        self._grow(max(limit, 1), max(limit, least, 1) + 1)
        if max(limit, least, self._last[0]) > _MAX_TIMES:
            raise re.error(f"{text}: more than {_MAX_TIMES} repeats, those inside each other multiplied")
        return text

    def _flags(self, found: "re.Match[str]") -> str:
        on, off = (found[name] or "" for name in ("on", "off"))
        on, off = on.replace("U", ""), off.replace("U", "")
        if found["end"] == ":":
            self._open()
            return f"(?{on}{'-' if off else ''}{off}:"
        # Python takes flags for the whole expression only at its beginning.
        return f"(?{on})" if on and not found.start() else ""

    def _escape(self, text: str) -> str:
        if text[1:] in ("A", "b", "B", "z"):
            self._add("character")
            return rf"(?:{text})" if text != r"\z" else r"(?:\Z)"
        kind, found = _class_or_code(text)
        self._add(kind)
        return found if isinstance(found, str) else f"\\U{found:08x}"

    def _set(self, text: str) -> str:
        self._add("unicode" if re.search(r"\\[pP]", text) else "wide")
        start = "[^" if text.startswith("[^") else "["
        items = [*_ITEMS.finditer(text[len(start) : -1])]
        if not items:
            raise re.error("a set without characters")
        built, i = start, 0
        while i < len(items):
            low = _item(items, i)
            is_range = isinstance(low, int) and i + 2 < len(items) and items[i + 1][0] == "-"
            if not is_range:
                built, i = built + (low if isinstance(low, str) else f"\\U{low:08x}"), i + 1
                continue
            high = _item(items, i + 2)
            if isinstance(high, str):
                raise _unknown(f"{items[i][0]}-{items[i + 2][0]}")
            built, i = f"{built}\\U{low:08x}-\\U{high:08x}", i + 3
        return f"{built}]"


def _item(items: "list[re.Match[str]]", i: int) -> int | str:
    """Return the code of a character in a set, or the class of Python."""
    found = items[i]
    if found["posix"]:
        if found["name"] not in _POSIX:
            raise _unknown(found[0])
        return r"\w"
    if found["escape"]:
        return _class_or_code(found[0])[1]
    if found[0] == "[" and i + 1 < len(items) and items[i + 1][0] == ":":
        raise _unknown("[: without the name of a class")
    return ord(found[0])


def _class_or_code(text: str) -> tuple[str, int | str]:
    """Return the size, and the class of Python or the code of the character, of an escape that sets take as well."""
    first, rest = text[1], text[2:]
    if first in "pP" and rest:
        if rest.strip("{}").removeprefix("^") not in _UNICODE:
            raise _unknown(text)
        return "unicode", r"\w" if first == "p" else r"\W"
    if first in "dDsSwW":
        return "wide", text
    if first in _LETTERS:
        return "character", _LETTERS[first]
    code = -1
    if first == "x" and rest:
        code = int(rest.strip("{}"), 16)
    elif first in "01234567" and (rest or first == "0"):
        code = int(text[1:], 8)
    elif first.isascii() and not first.isalnum():
        code = ord(first)
    if not 0 <= code <= _LAST_CODE or 0xD800 <= code <= 0xDFFF:
        raise _unknown(text)
    return "character", code
