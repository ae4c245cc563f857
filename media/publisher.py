"""A connected publisher: its streams, what it is told by RTCP, and its limits.

Packets arrive here protected and leave for their `Track` as payload and header. A repair stream
(RFC 4588) is taken apart and its packets go where the lost ones would have gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from media import rtcp, rtp
from media.api import Kind
from media.batch import BatchSender, PacketBuffer
from media.bucket import TokenBucket
from media.layers import Layers
from media.links import LAYERS_MAX, CodecFormat, PublishedTrack, PublisherLink
from media.nack import RETRY_MAX_NS, RETRY_MIN_NS, RETRY_UNKNOWN_NS, LossTracker
from media.quality import most_bps, next_estimate_bps
from media.reception import Reception
from media.round_trip import RoundTrip
from media.track import Track
from media.twcc import TransportFeedback

SSRCS_MAX: Final = 2 * (2 + 2 * LAYERS_MAX)
"""Sound, every layer of the picture, a repair stream for each, and a restarted encoder. libsrtp
keeps a state per SSRC for ever, so what goes beyond is not even decrypted."""
PACKETS_PER_S_MAX: Final = 3_000
"""Ten times a 2.5 Mbit/s publisher with sound."""
PACKETS_BURST_MAX: Final = 1_500
"""A large keyframe after a pause of the network."""
RTCP_PER_S_MAX: Final = 200
"""Compounds of one peer, publisher or viewer. One can be made to cost 0.2 ms, ten times a packet of
media; a browser that repairs heavy loss sends about 50 a second."""
RTCP_BURST_MAX: Final = 200
EXTENSION_BYTES_MAX: Final = 64
"""Forwarded header extensions of one packet together; the usual ones have one to three bytes."""
VIEWERS_LOSS_MAX: Final = 0.25
"""Of the loss that viewers report of sound, this much is passed on: error correction inside Opus
cannot make good for more."""
NACKED_PER_S_MAX: Final = 500
"""Packets asked for again in a second: more than a 2.5 Mbit/s publisher with sound sends. A path
that loses so much is not mended by asking."""
NACKED_BURST_MAX: Final = 512
"""As many as may be missing at a time."""
TIMES_REMEMBERED: Final = 4
"""Our reference times whose echo gives the round trip: the last four seconds."""
SECOND_NS: Final = 1_000_000_000
NO_ELEMENTS: Final[Mapping[int, bytes]] = {}


@dataclass(frozen=True, slots=True)
class PayloadType:
    """What a payload type of this publisher means. `forwarded` are extensions that go on."""

    layers: Layers
    codec: CodecFormat
    extension_ids: Mapping[str, int]
    forwarded: tuple[tuple[str, int], ...]
    is_rtx: bool


class Stream:
    """One SSRC of the publisher."""

    __slots__ = ("asked_again", "keyframes_asked", "loss", "meaning", "reception", "ssrc", "track")

    def __init__(self, ssrc: int, meaning: PayloadType | None) -> None:
        self.ssrc = ssrc
        self.track: Track | None = None  # None: nothing that was negotiated, or not known yet
        self.meaning = meaning  # None: authentic, but nothing that was negotiated
        clock_rate_hz = meaning.codec.clock_rate_hz if meaning else 90_000
        self.reception = Reception(clock_rate_hz)
        self.asked_again = 0  # packets
        self.keyframes_asked = 0
        repairs = meaning is not None and "nack" in meaning.codec.feedback
        self.loss = LossTracker() if repairs and meaning and not meaning.is_rtx else None


class Publisher:
    """One publisher's peer connection, attached to the tracks of its source."""

    def __init__(
        self, link: PublisherLink, layers: Mapping[Kind, Layers], sender: BatchSender
    ) -> None:
        self.link = link
        self.bucket = TokenBucket(PACKETS_PER_S_MAX, PACKETS_BURST_MAX)
        self.rtcp_bucket = TokenBucket(RTCP_PER_S_MAX, RTCP_BURST_MAX)
        self.streams: dict[int, Stream] = {}
        self._most_bps = most_bps(max((len(t.rids) for t in link.tracks), default=0))
        self.estimate_bps = self._most_bps
        self.fraction_lost = 0.0
        self.incoming_bps = 0
        self.round_trip = RoundTrip()
        self._nacked = TokenBucket(NACKED_PER_S_MAX, NACKED_BURST_MAX)
        self._began_ns: int | None = None
        self._times_sent: dict[int, int] = {}  # middle of its NTP time → when it left
        self._layers = layers
        self._sender = sender
        self._meanings: dict[int, PayloadType] = {}
        self._arrivals = TransportFeedback()
        self._wide_id = 0  # of the extension with the transport-wide number, 0 for none
        self._wide_ssrc = 0  # of the stream that it was last read from
        self._repairs: dict[int, int] = {}  # repair stream → the one it repairs, if the SDP said
        self._ntp_shift_ns: int | None = None
        self._octets = self._reported_octets = 0
        self._reported_ns: int | None = None
        for published in link.tracks:
            self._learn(published)
            layers[published.kind].attach(self, published.rids)

    def _learn(self, published: PublishedTrack) -> None:
        layers, ids = self._layers[published.kind], published.extension_ids
        self._wide_id = ids.get(rtp.URI_TRANSPORT_WIDE, self._wide_id)
        forwarded = rtp.forwarded_ids(ids)
        self._repairs.update(published.rtx_ssrcs)
        for codec in published.formats:
            self._meanings[codec.payload_type] = PayloadType(layers, codec, ids, forwarded, False)
            if codec.rtx_payload_type is not None:
                self._meanings[codec.rtx_payload_type] = PayloadType(
                    layers, codec, ids, forwarded, True
                )

    def detach(self) -> None:
        """The peer connection is gone."""
        for layers in self._layers.values():
            layers.detach(self)

    # --- packets in --------------------------------------------------------------------------

    def may_decrypt(self, ssrc: int) -> bool:
        """False for one SSRC too many."""
        return ssrc in self.streams or len(self.streams) < SSRCS_MAX

    def on_rtp(self, buffer: PacketBuffer, size: int, now_ns: int) -> Track | None:
        """A decrypted packet: the track that it belongs to, None when it was not used.

        Raises RtpError when it is malformed.
        """
        data = buffer.data
        header = rtp.parse(data, size)
        elements = rtp.extensions(data, header) if header.extension_end else NO_ELEMENTS
        number = elements.get(self._wide_id)
        if number is not None and len(number) == 2:  # whatever the stream, padding and all
            self._arrivals.arrived(number[0] << 8 | number[1], now_ns)
            self._wide_ssrc = header.ssrc
        meaning = self._meanings.get(header.payload_type)
        stream = self.streams.get(header.ssrc)
        if stream is None:
            stream = self.streams[header.ssrc] = Stream(header.ssrc, meaning)
        track = stream.track
        if track is None and meaning is not None and meaning is stream.meaning:
            track = stream.track = self._layer_of(meaning, header.ssrc, elements)
        if meaning is None or track is None or track.kind is not meaning.layers.kind:
            return None
        self._octets += size
        sequence = stream.reception.arrived(header.sequence, header.timestamp, now_ns)
        if meaning.is_rtx:
            self._on_repair(track, meaning, header, data, elements, now_ns)
        else:
            if stream.loss is not None:
                stream.loss.arrived(sequence, now_ns)
            payload = bytes(buffer.view[header.payload_start : header.payload_end])
            self._deliver(track, meaning, stream.ssrc, header, payload, elements, now_ns)
        return track

    def _layer_of(
        self, meaning: PayloadType, ssrc: int, elements: Mapping[int, bytes]
    ) -> Track | None:
        """The encoding that a new stream belongs to, by its RtpStreamId (RFC 8852 §3).

        The name is on a stream's first packets only: once known it is not looked at again.
        """
        layers = meaning.layers
        if not layers.by_rid:
            return layers.tracks[0]
        uri = rtp.URI_REPAIRED_RID if meaning.is_rtx else rtp.URI_RID
        rid = elements.get(meaning.extension_ids.get(uri, 0))
        if rid is None:
            repaired = self.streams.get(self._repairs.get(ssrc, 0))
            return repaired.track if repaired is not None else None
        return layers.by_rid.get(rid.decode("ascii", "replace"))

    def _on_repair(
        self,
        track: Track,
        meaning: PayloadType,
        header: rtp.Header,
        data: bytearray,
        elements: Mapping[int, bytes],
        now_ns: int,
    ) -> None:
        """RFC 4588 §4: the first two bytes of the payload are the lost sequence number."""
        primary = self.streams.get(track.ssrc) if track.ssrc is not None else None
        if header.payload_end - header.payload_start < 3 or primary is None:
            return  # padding that probes the path, or nothing to repair yet
        start = header.payload_start
        sequence = data[start] << 8 | data[start + 1]
        if primary.loss is not None:
            number = rtp.unwrap(sequence, primary.reception.highest)
            elapsed_ns = primary.loss.repaired(number, now_ns)
            if elapsed_ns is None:
                return  # not missing (any more)
            self.round_trip.sample(elapsed_ns)
        primary.reception.repaired()
        repaired = rtp.Header(
            meaning.codec.payload_type,
            header.marker,
            sequence,
            header.timestamp,
            primary.ssrc,
            header.extension_profile,
            header.extension_start,
            header.extension_end,
            start + 2,
            header.payload_end,
        )
        payload = bytes(data[start + 2 : header.payload_end])
        self._deliver(track, meaning, primary.ssrc, repaired, payload, elements, now_ns)

    @staticmethod
    def _deliver(
        track: Track,
        meaning: PayloadType,
        ssrc: int,
        header: rtp.Header,
        payload: bytes,
        elements: Mapping[int, bytes],
        now_ns: int,
    ) -> None:
        extensions: dict[str, bytes] = {}
        if elements:
            extensions = {uri: elements[id_] for uri, id_ in meaning.forwarded if id_ in elements}
            if extensions and sum(map(len, extensions.values())) > EXTENSION_BYTES_MAX:
                extensions = {}
        track.on_packet(ssrc, meaning.codec, header, payload, extensions, now_ns)

    def on_rtcp(self, buffer: PacketBuffer, size: int, now_ns: int) -> None:
        """A decrypted compound from the publisher."""
        for packet in rtcp.parse(buffer.data, size):
            match packet:
                case rtcp.SenderReport():
                    self._on_sender_report(packet, now_ns)
                case rtcp.Echo() if packet.ssrc == self.link.rtcp_ssrc:
                    sent_ns = self._times_sent.get(packet.last_rr)
                    if sent_ns is not None:
                        waited_ns = rtcp.delay_ns(packet.delay_since_rr)
                        self.round_trip.sample(now_ns - sent_ns - waited_ns)
                case _:
                    pass  # it receives nothing from us

    def _on_sender_report(self, report: rtcp.SenderReport, now_ns: int) -> None:
        stream = self.streams.get(report.ssrc)
        if stream is None or stream.track is None or (stream.meaning and stream.meaning.is_rtx):
            return
        stream.reception.sender_report(report.ntp, now_ns)
        ntp_ns = rtcp.ns_from_ntp(report.ntp)
        if self._ntp_shift_ns is None:
            # One shift for all of its tracks: what was in step with the publisher's clock stays
            # in step, and nobody learns what that clock shows.
            self._ntp_shift_ns = now_ns - ntp_ns
        track = stream.track
        if track.ssrc == report.ssrc:
            track.on_sender_report(ntp_ns + self._ntp_shift_ns, report.rtp_timestamp, now_ns)

    # --- RTCP out ----------------------------------------------------------------------------

    def send_pli(self, track: Track) -> bool:
        """Ask for a keyframe; False while the stream is not known."""
        ssrc = track.ssrc
        if ssrc is None:
            named = [
                t.ssrcs
                for t in self.link.tracks
                if t.kind is track.kind and t.ssrcs and not t.rids  # layers are not told apart
            ]
            if not named:
                return False
            ssrc = named[0][0]
        stream = self.streams.get(ssrc)
        if stream is not None:
            stream.keyframes_asked += 1
        self._send(rtcp.build_pli(self.link.rtcp_ssrc, ssrc))
        return True

    def ask_again(self, now_ns: int) -> None:
        """NACK what is missing and due; what is given up may need a keyframe."""
        retry_ns = 0
        for stream in self.streams.values():
            loss, track = stream.loss, stream.track
            if loss is None or track is None:
                continue
            if len(loss):
                retry_ns = retry_ns or self._retry_ns()
                due = loss.due(now_ns, retry_ns, self._nacked.level(now_ns))
                if due:
                    self._nacked.take_up_to(len(due), now_ns)
                    stream.asked_again += len(due)
                    self._send(rtcp.build_nack(self.link.rtcp_ssrc, stream.ssrc, due))
            if loss.given_up_ns is not None:
                track.lost(loss.given_up_ns, now_ns)
                loss.given_up_ns = None

    def _retry_ns(self) -> int:
        return min(max(self.round_trip.wait_ns(RETRY_UNKNOWN_NS), RETRY_MIN_NS), RETRY_MAX_NS)

    def forget_losses(self, track: Track) -> None:
        """What is missing of this track is not wanted any more."""
        for stream in self.streams.values():
            if stream.loss is not None and stream.track is track:
                stream.loss.forget()

    def tell_arrivals(self, now_ns: int) -> None:
        """Transport-wide feedback, when it is due."""
        for body in self._arrivals.due(now_ns):
            ssrc = self.link.rtcp_ssrc
            self._send(rtcp.build_transport_feedback(ssrc, self._wide_ssrc, body))

    def report(self, now_ns: int) -> None:
        """RR, reference time, SDES and REMB, once a second."""
        if self._reported_ns is not None:
            elapsed_ns = max(now_ns - self._reported_ns, 1)
            octets = self._octets - self._reported_octets
            self.incoming_bps = octets * 8 * SECOND_NS // elapsed_ns
        self._reported_ns, self._reported_octets = now_ns, self._octets
        blocks, lost = [], 0
        for stream in self.streams.values():
            block, track = stream.reception.block(stream.ssrc, now_ns), stream.track
            if block is None or track is None or (stream.meaning and stream.meaning.is_rtx):
                continue
            lost = max(lost, block.fraction_lost)
            blocks.append(_with_viewers(block, track) if track.kind is Kind.AUDIO else block)
        self.fraction_lost = lost / 256
        self.estimate_bps = next_estimate_bps(
            self.estimate_bps, self.fraction_lost, self.incoming_bps, self._most_bps
        )
        ssrc = self.link.rtcp_ssrc
        compound = rtcp.build_rr(ssrc, blocks) + self._reference_time(now_ns)
        compound += rtcp.build_sdes(ssrc, self.link.cname)
        media = [block.ssrc for block in blocks]
        if any("goog-remb" in m.codec.feedback for m in self._meanings.values()):
            compound += rtcp.build_remb(ssrc, self.estimate_bps, media)
        self._sender.send_rtcp(self.link.srtp_tx, self.link.destination, compound)

    def _reference_time(self, now_ns: int) -> bytes:
        """What the publisher echoes, so that the round trip is known though we send no media.

        Counted from our first report: what the server's clock shows is nobody's business.
        """
        if self._began_ns is None:
            self._began_ns = now_ns - SECOND_NS  # an echo of time 0 would mean that there is none
        ntp = rtcp.ntp_from_ns(now_ns - self._began_ns)
        self._times_sent[rtcp.middle(ntp)] = now_ns
        while len(self._times_sent) > TIMES_REMEMBERED:
            del self._times_sent[next(iter(self._times_sent))]
        return rtcp.build_reference_time(self.link.rtcp_ssrc, ntp)

    def _send(self, feedback: bytes) -> None:
        """Feedback behind an empty report: RFC 3550 §6.1 wants one first."""
        compound = rtcp.build_rr(self.link.rtcp_ssrc) + feedback
        self._sender.send_rtcp(self.link.srtp_tx, self.link.destination, compound)


def _with_viewers(block: rtcp.ReportBlock, track: Track) -> rtcp.ReportBlock:
    """A report on sound: its `fraction_lost` is that of the whole way to the viewers.

    An encoder puts as much error correction into its sound as this says (RFC 7587 §3.1.2), and lost
    sound is not asked for again. `packets_lost`, by which senders judge the path, stays our own.
    """
    heard = 1 - min(track.viewers_loss(), VIEWERS_LOSS_MAX)
    fraction = 256 - int((256 - block.fraction_lost) * heard)
    return replace(block, fraction_lost=min(fraction, 255))
