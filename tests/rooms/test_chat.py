"""Free chat: cleaning, rights, numbering and what late joiners get."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rooms.chat import BIDI_CONTROLS, Author, ChatLine, ChatLog, Numbering, clean_text
from rooms.limits import CHAT_CODE_POINTS_MAX, CHAT_KEPT_LINES
from rooms.presets import PRESETS
from rooms.refusals import Code, Refusal
from rooms.roles import Role

GUEST = Author("Guest 7", Role.GUEST, "none")
MEMBER = Author("mia", Role.MEMBER, "bronze")


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  hello  ", "hello"),
        ("a\nb\tc", "a b c"),
        ("a\x00b\x1b[31mc\x7f", "ab[31mc"),
        ("\u202etxt.exe\u2066", "txt.exe"),
        ("e\u0301", "\u00e9"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("<img onerror=x>", "<img onerror=x>"),
    ],
)
def test_cleaning(typed: str, kept: str) -> None:
    assert clean_text(typed) == kept


@pytest.mark.parametrize("typed", ["", "   ", "\n\t", "\x00", "\u202e"])
def test_nothing_is_refused(typed: str) -> None:
    refusal = clean_text(typed)
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.CHAT_EMPTY


def test_length_counts_code_points_after_nfc() -> None:
    exact = "e\u0301" * CHAT_CODE_POINTS_MAX
    assert clean_text(exact) == "\u00e9" * CHAT_CODE_POINTS_MAX
    refusal = clean_text(exact + "x")
    assert isinstance(refusal, Refusal)
    assert refusal.code is Code.CHAT_TOO_LONG
    assert refusal.data == {"limit": 500, "length": 501}


@given(st.text(max_size=600))
def test_whatever_is_kept_is_short_clean_and_stable(typed: str) -> None:
    cleaned = clean_text(typed)
    if isinstance(cleaned, Refusal):
        return
    assert 0 < len(cleaned) <= CHAT_CODE_POINTS_MAX
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not BIDI_CONTROLS & set(cleaned)
    assert all(unicodedata.category(c) not in ("Cc", "Cs") for c in cleaned)
    assert clean_text(cleaned) == cleaned


def test_guests_choose_and_members_type() -> None:
    log = ChatLog(Numbering())
    assert log.type_line(GUEST, "hi", 1) == Refusal(Code.GUESTS_USE_PRESETS)
    assert log.choose_preset(MEMBER, "hello", 1) == Refusal(Code.PRESETS_ARE_FOR_GUESTS)
    assert log.choose_preset(GUEST, "rude", 1) == Refusal(Code.UNKNOWN_PRESET)
    assert log.last_lines == ()
    typed = log.type_line(MEMBER, " hi ", 5)
    assert typed == ChatLine(1, 5, "mia", Role.MEMBER, "bronze", "hi")


def test_a_preset_is_read_in_the_receivers_language() -> None:
    line = ChatLog(Numbering()).choose_preset(GUEST, "thanks", 1)
    assert isinstance(line, ChatLine)
    assert line.text_for("en") == "Thank you!"
    assert line.text_for("nb") == "Takk!"


def test_every_preset_is_there_in_every_language() -> None:
    assert all(set(texts) == {"en", "nb"} for texts in PRESETS.values())


def test_late_joiners_get_the_last_fifty_in_order() -> None:
    log = ChatLog(Numbering())
    for number in range(60):
        log.type_line(MEMBER, f"line {number}", number)
    numbers = [line.n for line in log.last_lines]
    assert numbers == list(range(11, 61))
    assert len(numbers) == CHAT_KEPT_LINES


def test_two_logs_of_one_room_share_their_numbers() -> None:
    numbering = Numbering()
    free, private = ChatLog(numbering), ChatLog(numbering)
    lines = [log.type_line(MEMBER, "x", 0) for log in (free, private, free)]
    assert [line.n for line in lines if isinstance(line, ChatLine)] == [1, 2, 3]
