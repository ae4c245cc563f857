"""Free chat of one room: cleaning of text, presets, numbering, the last lines for late joiners."""

import unicodedata
from collections import deque
from dataclasses import dataclass

from rooms.emoji import has_emoji
from rooms.limits import CHAT_CODE_POINTS_MAX, CHAT_KEPT_LINES
from rooms.presets import PRESETS
from rooms.refusals import Code, Refusal
from rooms.roles import Language, Role, may_type

BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Overrides and isolates: they make a line read as something that nobody wrote."""


@dataclass(frozen=True, slots=True)
class ChatLine:
    """One line. `n` grows; role and rank are the server's. `preset` names a guest's choice."""

    n: int
    at_ms: int
    name: str
    role: Role
    rank: str
    text: str
    preset: str | None = None

    def text_for(self, language: Language) -> str:
        """The text as this receiver reads it: a preset in their language, else as typed."""
        if self.preset is None:
            return self.text
        return PRESETS[self.preset][language]


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes, as the server knows them."""

    name: str
    role: Role
    rank: str
    emoji: bool = True
    """Whether they may use emojis now."""


def clean_text(text: str) -> str | Refusal:
    """NFC, one line, no control characters, at most `CHAT_CODE_POINTS_MAX` code points."""
    kept = "".join(c for c in text if c.isspace() or not _forbidden(c))
    cleaned = unicodedata.normalize("NFC", " ".join(kept.split()))
    if not cleaned:
        return Refusal(Code.CHAT_EMPTY)
    if len(cleaned) > CHAT_CODE_POINTS_MAX:
        return Refusal(Code.CHAT_TOO_LONG, {"limit": CHAT_CODE_POINTS_MAX, "length": len(cleaned)})
    return cleaned


def _forbidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in BIDI_CONTROLS


class Numbering:
    """The room's one counter, shared by its free and its private chat."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """The next number, from 1."""
        self._last += 1
        return self._last


class ChatLog:
    """The lines of one conversation."""

    def __init__(self, numbering: Numbering) -> None:
        self._numbering = numbering
        self._lines: deque[ChatLine] = deque(maxlen=CHAT_KEPT_LINES)

    @property
    def last_lines(self) -> tuple[ChatLine, ...]:
        """What a late joiner gets, oldest first."""
        return tuple(self._lines)

    def type_line(self, author: Author, text: str, at_ms: int) -> ChatLine | Refusal:
        """A typed message; refused for guests whatever their client shows."""
        if not may_type(author.role):
            return Refusal(Code.GUESTS_USE_PRESETS)
        cleaned = clean_text(text)
        if isinstance(cleaned, Refusal):
            return cleaned
        if not author.emoji and has_emoji(cleaned):
            return Refusal(Code.FEATURE_LOCKED_EMOJI)
        return self._append(author, cleaned, None, at_ms)

    def choose_preset(self, author: Author, preset: str, at_ms: int) -> ChatLine | Refusal:
        """A guest's choice from the list."""
        if may_type(author.role):
            return Refusal(Code.PRESETS_ARE_FOR_GUESTS)
        if preset not in PRESETS:
            return Refusal(Code.UNKNOWN_PRESET)
        return self._append(author, PRESETS[preset]["en"], preset, at_ms)

    def _append(self, author: Author, text: str, preset: str | None, at_ms: int) -> ChatLine:
        line = ChatLine(
            self._numbering.next(), at_ms, author.name, author.role, author.rank, text, preset
        )
        self._lines.append(line)
        return line
