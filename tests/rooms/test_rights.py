"""The extras of active members: locked to the millisecond, enforced by the server, back at once."""

from __future__ import annotations

import pytest

from billing_meter.wallet import standing as earned
from rooms.chat import ChatLine
from rooms.emoji import has_emoji
from rooms.events import Upgraded
from rooms.refusals import Code, Refusal
from rooms.rights import EXTRAS, locked
from rooms.roles import Standing, may_buy_time
from rooms.roles import Visitor as Person
from rooms.roles import VisitorKind as Kind

DAY_MS = 86_400_000


def test_exactly_four_rights_are_locked_at_thirty_days_and_not_a_moment_before() -> None:
    bought_ms = 1_700_000_000_123
    made = earned(0, 1, bought_ms)
    mine = Standing(made.premium, extras_until_ms=made.extras_until_ms)
    at_29_23_59_59 = bought_ms + 30 * DAY_MS - 1_000
    assert locked(mine, at_29_23_59_59) == frozenset()
    assert locked(mine, bought_ms + 30 * DAY_MS - 1) == frozenset()
    assert locked(mine, bought_ms + 30 * DAY_MS) == EXTRAS
    assert {feature.value for feature in EXTRAS} == {"albums", "emoji", "translator", "likes"}
    assert may_buy_time(Person(Kind.MEMBER, "m", "m"), mine)  # everything else stays


def test_nothing_is_ever_locked_for_experts_and_guests() -> None:
    assert locked(Standing(), 10**18) == frozenset()


@pytest.mark.parametrize(
    "text",
    ["🙂", "hi 👍🏽", "👩‍👩‍👧", "🇳🇴", "❤️", "1️⃣", "©️", "⭐", "✨ magic", "🫠", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "⏰", "😀" * 9],
)
def test_emojis_are_seen_in_all_their_forms(text: str) -> None:
    assert has_emoji(text)


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "blåbærsyltetøy",
        "你好",
        "مرحبا",
        "1 * 2 # 3",
        "© ™ ®",
        "☎ 12 34",
        "→ ♥ ✓",
        ":-)",
        "",
    ],
)
def test_letters_and_signs_are_no_emojis(text: str) -> None:
    assert not has_emoji(text)


def test_an_emoji_in_a_locked_message_is_refused_and_not_stripped(world) -> None:
    member, other = world.member("mia"), world.member("noah")
    place = world.house.floor.places[member]
    place.standing = Standing(premium=True, extras_until_ms=world.house.floor.utc_ms() + 1)
    assert isinstance(world.house.lobby.say(member, "hi 🙂"), ChatLine)
    place.standing = Standing(premium=True, extras_until_ms=world.house.floor.utc_ms())
    before = len(world.told)
    refusal = world.house.lobby.say(member, "hi 🙂")
    assert refusal == Refusal(Code.FEATURE_LOCKED_EMOJI)
    assert refusal.code.value == "feature_locked:emoji"
    assert len(world.told) == before
    line = world.house.lobby.say(member, "hi")
    assert isinstance(line, ChatLine)
    assert line.text == "hi"
    assert isinstance(world.house.lobby.say(other, "🙂"), ChatLine)


async def test_a_purchase_unlocks_at_once_without_a_reconnect(world) -> None:
    member = world.member("mia")
    place = world.house.floor.places[member]
    now_ms = world.house.floor.utc_ms()
    place.standing = Standing(premium=True, extras_until_ms=now_ms)
    world.directory.extras_until_ms["mia"] = now_ms + 30 * DAY_MS
    world.house.on_standing("mia")
    await world.settle()
    [upgraded] = world.heard(member, Upgraded)
    assert upgraded.standing.extras_until_ms == now_ms + 30 * DAY_MS
    assert isinstance(world.house.lobby.say(member, "🙂"), ChatLine)
    world.house.on_standing("mia")  # the next purchase changes nothing that can be seen
    await world.settle()
    assert len(world.heard(member, Upgraded)) == 1
    world.directory.extras_until_ms["mia"] = now_ms  # it went back
    world.house.on_standing("mia")
    await world.settle()
    assert isinstance(world.house.lobby.say(member, "🙂"), Refusal)
    assert len(world.heard(member, Upgraded)) == 1
