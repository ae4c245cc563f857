"""The ICE-lite side of many peers on one port, sans-IO (RFC 8445 §2.5 and §7.3, RFC 7675).

A lite agent answers the checks that prove knowledge of the credentials in its answer, remembers
from which addresses they came, and sends media to the one that the controlling side nominated.
Everything that fails here is met with silence: a stranger learns nothing.

Checks carry no time: who recorded one on the way can send it again an hour later, from an address
of his own. So the first nomination counts at once, but a peer that says it has moved is asked back,
by a check of ours to the new address, and media follows when that is answered. One round trip, for
which the new network has to carry packets both ways anyhow.
"""

import hmac
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from media.api import ADDRESSES_PER_PEER_MAX, CONSENT_TIMEOUT_NS, IceCredentials
from media.stun import (
    BindingRequest,
    StunError,
    binding_request,
    binding_role_conflict,
    binding_success,
    is_binding_success,
    parse_binding_request,
    parse_binding_success,
)

TRANSACTIONS_REMEMBERED = 32
"""Checks in flight of one peer; a copy of one of them from elsewhere is a replay."""
QUESTION_REPEAT_NS = 100_000_000
"""Before a question is repeated for the first time, then twice as long each time."""
QUESTIONS_MAX = 5
"""Over three seconds; then the peer's next check begins anew. They check every 2.5 s or 5 s."""
SELECTED_SILENT_NS = 6_000_000_000
"""RFC 7675 §5.1: checks for consent come every 5 s ± 20 %. An address that misses one, while
another of the peer's is alive, is not where it is any more, whether it nominates the other or not:
its own view of the way did not change when a NAT gave it another address."""
SELECTED_LATE_NS = 3_000_000_000
"""The same when the other address was never seen before: then the check that is due comes from
there. Longer than the 2.5 s after which Chromium checks, shorter than Firefox's 4 s."""

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a packet came from: `ip` packed, `port` a number.

    `key` is the raw socket address, or, of a TCP connection (`stream`), a name that no other
    connection ever has.
    """

    key: bytes
    ip: bytes
    port: int
    stream: bool = False


@dataclass(slots=True)
class Question:
    """A check of ours to an address where a peer says it is now."""

    address: Address
    transaction_id: bytes
    request: bytes
    repeat_ns: int
    sent: int = 1


@dataclass(slots=True, eq=False)
class IceSession(Generic[Owner]):
    """One peer's credentials and the addresses that proved to know them.

    `offered` are those of an ICE restart that no check has used yet. `validated` is ordered, the
    least recently checked first. `selected` is where to send: the nominated address, or, before any
    nomination, the one that was validated last.
    """

    owner: Owner
    credentials: IceCredentials
    offered: IceCredentials | None = None
    validated: OrderedDict[bytes, Address] = field(default_factory=OrderedDict)
    selected: Address | None = None
    nominated: bool = False
    last_check_ns: int | None = None
    selected_check_ns: int = 0
    transactions: OrderedDict[bytes, bytes] = field(default_factory=OrderedDict)
    questions: dict[bytes, Question] = field(default_factory=dict)

    @property
    def newest(self) -> IceCredentials:
        """What the peer was told last: the ICE session that its next requests are about."""
        return self.credentials if self.offered is None else self.offered


@dataclass(frozen=True, slots=True)
class Checked(Generic[Owner]):
    """A check that earned an answer, or an answer to our own one.

    `response` and `question` go back to where it came from, unless they are empty. `accepted` is
    false for a role conflict, which changes nothing; `moved` tells that `session.selected` is now
    another address.
    """

    session: IceSession[Owner]
    response: bytes
    accepted: bool
    moved: bool
    question: bytes = b""


class IceLite(Generic[Owner]):
    """All sessions of one port.

    A check finds its session by the local half of its USERNAME; every other datagram belongs to
    whom `owners` says, by the raw socket address it came from, and to nobody otherwise.
    """

    def __init__(self) -> None:
        self.owners: dict[bytes, Owner] = {}
        self._holders: dict[bytes, IceSession[Owner]] = {}
        self._sessions: dict[bytes, IceSession[Owner]] = {}
        self._asking: dict[IceSession[Owner], None] = {}
        self._asked = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def add(self, session: IceSession[Owner]) -> None:
        """From now on checks for this session are answered."""
        self._sessions[session.credentials.local_ufrag.encode()] = session

    def restart(self, session: IceSession[Owner], credentials: IceCredentials) -> None:
        """Also answers checks for these (RFC 8445 §9); the first good one ends the old ones.

        Until then the old ones hold, and so does the address in use: a restart that comes to
        nothing changes nothing. Of several restarts only the last counts.
        """
        if session.offered is not None:
            self._sessions.pop(session.offered.local_ufrag.encode(), None)
        session.offered = credentials
        self._sessions[credentials.local_ufrag.encode()] = session

    def remove(self, session: IceSession[Owner]) -> None:
        """Silent for this session from now on, and its addresses are strangers again."""
        for credentials in (session.credentials, session.newest):
            self._sessions.pop(credentials.local_ufrag.encode(), None)
        for key in list(session.validated):
            self._forget(session, key)
        self._asking.pop(session, None)

    def lost(self, key: bytes) -> Owner | None:
        """A TCP connection is gone: the peer whose media went there, None when nobody's did.

        Its media goes to where it checked last, if there is such a place.
        """
        session = self._holders.get(key)
        if session is None:
            return None
        self._forget(session, key)
        if session.selected is None or session.selected.key != key:
            return None
        session.selected = next(reversed(session.validated.values()), None)
        return session.owner

    def receive(self, data: bytes, source: Address, now_ns: int) -> Checked[Owner] | None:
        """Judges one STUN datagram; None means: say nothing."""
        if is_binding_success(data):
            return self._answered(data, source, now_ns)
        try:
            request = parse_binding_request(data)
        except StunError:
            return None
        found = self._authenticated(request)
        if found is None:
            return None
        session, credentials = found
        if self._replayed(session, request, source):
            return None
        if self._held_by_another(session, source, now_ns):
            return None
        password = credentials.local_password.encode()
        if not request.controlling:
            conflict = binding_role_conflict(request.transaction_id, password)
            return Checked(session, conflict, accepted=False, moved=False)
        if credentials is session.offered:
            self._begin_anew(session, credentials)
        session.last_check_ns = now_ns
        response = binding_success(request.transaction_id, source.ip, source.port, password)
        new = self._validate(session, source)
        moved, question = self._select(session, request, source, now_ns, new=new)
        return Checked(session, response, accepted=True, moved=moved, question=question)

    def _authenticated(
        self, request: BindingRequest
    ) -> tuple[IceSession[Owner], IceCredentials] | None:
        local, separator, remote = request.username.partition(b":")
        session = self._sessions.get(local)
        if session is None or not separator:
            return None
        credentials = session.credentials
        if local != credentials.local_ufrag.encode():
            credentials = session.newest
        if remote != credentials.remote_ufrag.encode():
            return None
        password = credentials.local_password.encode()
        return (session, credentials) if request.integrity_ok(password) else None

    def _begin_anew(self, session: IceSession[Owner], credentials: IceCredentials) -> None:
        """The peer uses the credentials of the restart: the old ones are worth nothing any more.

        Its addresses stay its own, since packets that are under way still come from them.
        """
        self._sessions.pop(session.credentials.local_ufrag.encode(), None)
        session.credentials, session.offered = credentials, None
        session.nominated = False
        session.questions.clear()

    def _replayed(
        self, session: IceSession[Owner], request: BindingRequest, source: Address
    ) -> bool:
        """Somebody on the path who re-sends a captured check would else draw the media to him."""
        seen_from = session.transactions.setdefault(request.transaction_id, source.key)
        if len(session.transactions) > TRANSACTIONS_REMEMBERED:
            session.transactions.popitem(last=False)
        return seen_from != source.key

    def _held_by_another(self, session: IceSession[Owner], source: Address, now_ns: int) -> bool:
        """A peer that forges another's source address must not cut that other off."""
        holder = self._holders.get(source.key)
        if holder is None or holder is session:
            return False
        last_check_ns = holder.last_check_ns
        return last_check_ns is not None and now_ns - last_check_ns < CONSENT_TIMEOUT_NS

    def _validate(self, session: IceSession[Owner], source: Address) -> bool:
        """Remembers the address; True when it was not known."""
        holder = self._holders.get(source.key)
        if holder is not session:
            if holder is not None:
                self._forget(holder, source.key)
            self._make_room(session)
            self._holders[source.key] = session
            self.owners[source.key] = session.owner
        session.validated[source.key] = source
        session.validated.move_to_end(source.key)
        return holder is not session

    def _select(
        self,
        session: IceSession[Owner],
        request: BindingRequest,
        source: Address,
        now_ns: int,
        *,
        new: bool,
    ) -> tuple[bool, bytes]:
        """Whether media goes somewhere else now, and what is to be asked before it does."""
        before = session.selected
        if before is None or not session.nominated:
            session.selected, session.selected_check_ns = source, now_ns
            session.nominated = request.use_candidate
            return before is None or before.key != source.key, b""
        if before.key == source.key:
            session.selected_check_ns = now_ns
            if request.use_candidate:
                session.questions.clear()
            return False, b""
        silent_ns = now_ns - session.selected_check_ns
        gone = silent_ns >= (SELECTED_LATE_NS if new else SELECTED_SILENT_NS)
        if not (request.use_candidate or gone):
            return False, b""
        return False, self._ask(session, source, now_ns)

    def _ask(self, session: IceSession[Owner], source: Address, now_ns: int) -> bytes:
        """The question to send there, empty when it is asked already."""
        if source.key in session.questions:
            return b""
        self._asked += 1
        ours = session.credentials
        # Never the same twice, and nobody else can know it before it is sent.
        transaction_id = hmac.digest(
            ours.local_password.encode(), self._asked.to_bytes(8), "sha256"
        )[:12]
        request = binding_request(
            transaction_id,
            f"{ours.remote_ufrag}:{ours.local_ufrag}".encode(),
            ours.remote_password.encode(),
            controlling=False,
        )
        session.questions[source.key] = Question(
            source, transaction_id, request, now_ns + QUESTION_REPEAT_NS
        )
        self._asking[session] = None
        return request

    def ask(self, session: IceSession[Owner], now_ns: int) -> tuple[bytes, Address] | None:
        """Is it still there? The check to send and where to; None while it is asked already."""
        selected = session.selected
        question = b"" if selected is None else self._ask(session, selected, now_ns)
        return (question, selected) if selected is not None and question else None

    def due(self, now_ns: int) -> list[tuple[bytes, Address]]:
        """Questions to repeat now, and where to."""
        if not self._asking:
            return []
        repeated = []
        for session in tuple(self._asking):
            for key, question in tuple(session.questions.items()):
                if now_ns < question.repeat_ns:
                    continue
                if question.sent == QUESTIONS_MAX:
                    del session.questions[key]
                    continue
                question.repeat_ns = now_ns + (QUESTION_REPEAT_NS << question.sent)
                question.sent += 1
                repeated.append((question.request, question.address))
            if not session.questions:
                del self._asking[session]
        return repeated

    def _answered(self, data: bytes, source: Address, now_ns: int) -> Checked[Owner] | None:
        """The peer is where it said: media goes there from now on."""
        session = self._holders.get(source.key)
        question = None if session is None else session.questions.get(source.key)
        if session is None or question is None:
            return None
        try:
            answer = parse_binding_success(data)
        except StunError:
            return None
        password = session.credentials.remote_password.encode()
        if answer.transaction_id != question.transaction_id or not answer.integrity_ok(password):
            return None
        before = session.selected
        moved = before is None or before.key != source.key
        if moved:
            session.questions.clear()
        else:  # it is still here; whether it is elsewhere, too, is another question
            del session.questions[source.key]
        session.selected = source
        session.last_check_ns = session.selected_check_ns = now_ns
        return Checked(session, b"", accepted=True, moved=moved)

    def _make_room(self, session: IceSession[Owner]) -> None:
        if len(session.validated) < ADDRESSES_PER_PEER_MAX:
            return
        selected = session.selected.key if session.selected is not None else None
        oldest = next(key for key in session.validated if key != selected)
        self._forget(session, oldest)

    def _forget(self, session: IceSession[Owner], key: bytes) -> None:
        session.validated.pop(key, None)
        session.questions.pop(key, None)
        if self._holders.get(key) is session:
            del self._holders[key]
            del self.owners[key]
