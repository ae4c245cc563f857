"""Fuzzes what comes from Stripe: a webhook's header and body, and answers about our payments,
card checks, refunds and disputes.

The first line is the header, the rest the body. Nothing but msgspec's own errors may come out, and
nobody gets in without the secret.
"""

import msgspec

from billing_meter.card_checks import CardFound
from billing_meter.providers import Declined, Disputed, Pending, Redirect, Settled
from billing_meter.stripe_objects import (
    Dispute,
    Intent,
    Session,
    SetupSession,
    disputed,
    intent_result,
    read_event,
    refunded_minor,
    session_result,
    setup_result,
)
from billing_meter.stripe_signature import signature_fault, signature_of

NOW_S = 1_700_000_000
SECRET = "whsec_fuzz"
RESULTS = (Declined, Pending, Redirect, Settled, CardFound, Disputed, int)
MEANINGS = (
    (Session, session_result),
    (SetupSession, setup_result),
    (Intent, intent_result),
    (Intent, refunded_minor),
    (Dispute, disputed),
)


def seeds() -> list[bytes]:
    event = b'{"id":"evt_1","type":"charge.refunded","data":{"object":{"id":"ch_1"}}}'
    intent = b'{"id":"pi_1","status":"succeeded","amount":1,"currency":"eur","customer":"cus_1"}'
    return [
        f"t={NOW_S},v1=00\n".encode() + event,
        f"t={NOW_S},v1={signature_of(event, SECRET, str(NOW_S))}\n".encode() + event,
        b"\n" + intent,
        b"t=,v1=\n" + b'{"id":"cs_1","status":"complete","payment_status":"paid","expires_at":1,'
        b'"payment_intent":' + intent + b"}",
        b'v1=0,t=9\n{"id":"cs_2","status":"complete","expires_at":1,"setup_intent":{"id":"seti_1",'
        b'"status":"succeeded","payment_method":{"id":"pm_1","card":{"fingerprint":"fp_1"}}}}',
        b'\n{"id":"dp_1","status":"needs_response","amount":2799,"payment_intent":"pi_1"}',
        b'\n{"id":"pi_2","status":"succeeded","amount":2799,"currency":"eur","latest_charge":'
        b'{"id":"ch_1","amount_refunded":999}}',
        b'v1=0,t=9\n{"id":"cs_1","status":"expired","payment_status":"unpaid","expires_at":1}',
    ]


def check(data: bytes) -> None:
    header, _, body = data.partition(b"\n")
    text = header.decode("latin-1")
    fault = signature_fault(body, text, SECRET, NOW_S)
    if fault is None:
        fields = dict(item.strip().partition("=")[::2] for item in text.split(",") if "t=" in item)
        assert signature_of(body, SECRET, fields["t"]) in text
    event = read_event(body)
    assert event is None or 0 < len(event.event_id) <= 200
    for kind, meaning in MEANINGS:
        try:
            thing = msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue  # Stripe's library refuses what is no UTF-8, or is nested so deeply, before us
        assert isinstance(meaning(thing), RESULTS)
