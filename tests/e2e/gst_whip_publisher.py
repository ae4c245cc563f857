"""A third-party encoder: GStreamer's webrtcbin publishes a test picture and tone over WHIP.

Run by the system's Python (/usr/bin/python3), which has `gi`; it knows nothing of Parlour.

    gst_whip_publisher.py URL KEY vp8|h264 [trickle]

Sends until its standard input ends. With `trickle` the offer leaves before candidates are
gathered, and they follow in one PATCH (RFC 9725 §4.3.1). Prints one line of JSON per milestone:
`offer` (with the SDP), `answer`, `trickled`, `connected`, `deleted`.
"""

import json
import sys
import threading
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

ENCODERS = {
    "vp8": "vp8enc deadline=1 keyframe-max-dist=30 target-bitrate=400000 ! rtpvp8pay"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=30 bitrate=400"
    " ! video/x-h264,profile=constrained-baseline ! rtph264pay config-interval=-1"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96",
}
PIPELINE = """
webrtcbin name=rtc bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=180,framerate=15/1
  ! videoconvert ! queue ! {encoder} ! rtc.
audiotestsrc is-live=true volume=0.1 ! audioconvert ! audioresample ! queue ! opusenc
  ! rtpopuspay ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! rtc.
"""
RETRY_MS = 100
CONNECT_WITHIN_MS = 30_000


def say(what, **more):
    print(json.dumps({"event": what, **more}), flush=True)


class Publisher:
    """One WHIP publication from offer to DELETE."""

    def __init__(self, url, key, codec, trickle):
        self.trickle = trickle
        self.candidates = []
        self.gathered = threading.Event()
        self.url = url
        self.key = key
        self.resource = None
        self.failure = None
        self.negotiating = False
        self.connected = False
        self.loop = GLib.MainLoop()
        self.pipeline = Gst.parse_launch(PIPELINE.format(encoder=ENCODERS[codec]))
        self.rtc = self.pipeline.get_by_name("rtc")
        self.rtc.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.rtc.connect("notify::ice-gathering-state", self.on_gathering)
        self.rtc.connect("notify::connection-state", self.on_connection)
        self.rtc.connect("on-ice-candidate", self.on_candidate)

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(CONNECT_WITHIN_MS, self.give_up)
        self.loop.run()
        if self.resource is not None:
            self.request("DELETE", self.resource)
            say("deleted")
        self.pipeline.set_state(Gst.State.NULL)
        if self.failure is not None:
            say("failed", reason=self.failure)
            return 1
        return 0

    def on_negotiation_needed(self, rtc):
        if not self.negotiating:
            self.negotiating = True
            self.create_offer()

    def create_offer(self):
        promise = Gst.Promise.new_with_change_func(self.on_offer, self.rtc, None)
        self.rtc.emit("create-offer", None, promise)
        return GLib.SOURCE_REMOVE

    def on_offer(self, promise, rtc, _):
        promise.wait()
        reply = promise.get_reply()
        if reply is None or not reply.has_field("offer"):
            # The elements before it have not agreed on their formats yet.
            GLib.timeout_add(RETRY_MS, self.create_offer)
            return
        offer = reply.get_value("offer")
        rtc.emit("set-local-description", offer, Gst.Promise.new())
        if self.trickle:
            threading.Thread(target=self.post_offer, args=(offer.sdp.as_text(),)).start()

    def on_candidate(self, rtc, section, candidate):
        if section == 0 and candidate:  # bundled: those of the first section are all
            self.candidates.append(candidate)

    def on_gathering(self, rtc, _):
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        if rtc.get_property("ice-gathering-state") == complete:
            self.gathered.set()
            if self.trickle:
                return
            # HTTP blocks, and this is a thread of webrtcbin's own.
            offer = self.rtc.get_property("local-description").sdp.as_text()
            threading.Thread(target=self.post_offer, args=(offer,), daemon=True).start()

    def post_offer(self, offer):
        say("offer", sdp=offer)
        try:
            status, headers, answer = self.request("POST", self.url, offer)
        except OSError as error:
            self.end(f"{error}: {error.read().decode() if hasattr(error, 'read') else ''}")
            return
        say("answer", status=status, sdp=answer)
        self.resource = urllib.parse.urljoin(self.url, headers["Location"])
        _, message = GstSdp.SDPMessage.new_from_text(answer)
        description = GstWebRTC.WebRTCSessionDescription.new(
            GstWebRTC.WebRTCSDPType.ANSWER, message
        )
        self.rtc.emit("set-remote-description", description, Gst.Promise.new())
        if self.trickle:
            self.send_candidates(offer, headers["ETag"])

    def send_candidates(self, offer, etag):
        self.gathered.wait(10)
        lines = offer.splitlines()
        first = next(line for line in lines if line.startswith("m="))
        wanted = ("a=ice-ufrag:", "a=ice-pwd:", "a=mid:")
        named = [next(line for line in lines if line.startswith(prefix)) for prefix in wanted]
        body = [*named[:2], first, named[2], *(f"a={text}" for text in self.candidates)]
        fragment = "\r\n".join([*body, "a=end-of-candidates", ""])
        headers = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": etag}
        try:
            status, _, _ = self.request("PATCH", self.resource, fragment, headers)
        except OSError as error:
            self.end(f"{error}: {error.read().decode() if hasattr(error, 'read') else ''}")
            return
        say("trickled", status=status, candidates=len(self.candidates))

    def on_connection(self, rtc, _):
        state = rtc.get_property("connection-state")
        say(state.value_nick)
        if state == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            self.connected = True
            GLib.io_add_watch(sys.stdin, GLib.PRIORITY_DEFAULT, GLib.IO_IN | GLib.IO_HUP, self.told)
        if state == GstWebRTC.WebRTCPeerConnectionState.FAILED:
            self.end("the connection failed")

    def told(self, *_):
        self.loop.quit()
        return GLib.SOURCE_REMOVE

    def give_up(self):
        if not self.connected:
            self.end("no connection in time")
        return GLib.SOURCE_REMOVE

    def end(self, failure):
        self.failure = failure
        GLib.idle_add(self.loop.quit)

    def request(self, method, url, body=None, more=()):
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/sdp"}
        headers.update(more)
        data = None if body is None else body.encode()
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.headers, response.read().decode()


if __name__ == "__main__":
    Gst.init(None)
    url, key, codec, *more = sys.argv[1:]
    sys.exit(Publisher(url, key, codec, "trickle" in more).run())
