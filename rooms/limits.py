"""Every limit and delay of the rooms, with its unit and its reason."""

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
NS_PER_US = 1_000

RING_NS = 30 * NS_PER_S
"""How long a request rings: long enough to finish a sentence, short enough to wait for."""
CONNECT_NS = 15 * NS_PER_S
"""Free time for the first private packet after accept; ICE and DTLS need about one second."""
GRACE_NS = 30 * NS_PER_S
"""How long a session without media waits, unpaid, for a network change or a page reload."""
SETTLE_NS = 5 * NS_PER_S
"""After this the room opens again although the final post is still waiting for the ledger."""
PLACE_KEPT_NS = 30 * NS_PER_S
"""How long a lost WebSocket keeps its place."""
NOTICE_NS = 5 * NS_PER_S
"""How long a transitional notice stands under a thumbnail (features B2)."""
PUBLISHER_CONNECT_NS = 10 * NS_PER_S
"""A publisher without a packet holds its place this long against another one."""
IDLE_VIEWERS_NS = 30 * NS_PER_S
"""Viewers of a room without picture keep their connection this long for a quick return."""
SEAT_KEPT_NS = 60 * NS_PER_S
"""Whoever watched so lately is no new viewer to a busy server: a reload, a change of room, a
network that was away."""
SEATS_MAX = 20_000
"""Seats kept; beyond it the one that was given up first is forgotten."""
BUSY_RETRY_S = 10
"""When a viewer who was refused may ask again; a busy server needs five quiet seconds."""
CARD_DELAY_NS = 500 * NS_PER_MS
"""Viewer counts reach the grid at most this late and this often per expert."""

FIGURES_NS = 1 * NS_PER_S
"""How often whoever looks at their connection's figures is told: as often as peers report."""
FIGURES_FIRST_NS = 400 * NS_PER_MS
"""The first time: long enough for a rate, short enough for somebody who just pressed a button."""

THUMBNAIL_NS = 8 * NS_PER_S
"""How old a live thumbnail becomes (features B3: 5 to 10 s)."""
THUMBNAIL_RETRY_NS = 1 * NS_PER_S
"""No keyframe was there: one has been asked for, and comes within this if the encoder listens."""
THUMBNAIL_ASKED_NS = 20 * NS_PER_S
"""Without anybody asking for so long, no more pictures are made of this expert."""
THUMBNAILS_PER_STEP_MAX = 10
"""Pictures made in one go; the rest is due in the next step."""

CHAT_CODE_POINTS_MAX = 500
"""After NFC (features C3)."""
CHAT_BURST = 5
CHAT_REFILL_PER_S = 1.0
"""Five messages in five seconds (features C3)."""
CHAT_KEPT_LINES = 50
"""What a late joiner gets (features C3)."""

PLACES_MAX = 20_000
"""Connections of one process; beyond it the newest is refused."""
BUCKETS_MAX = 20_000
"""Chat buckets kept; full ones are forgotten first."""
BALANCE_BANDS_S = (300, 600)
"""Borders of the balance band on the request card: 5 and 10 minutes."""
