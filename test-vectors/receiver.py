"""A receiver that judges one datagram in one state: at which stage it ends, and why.

It is the slow reading of the protocol against which the generator holds every case. It
changes no state. Where two independent faults would reject the same datagram it refuses to
judge, since a case must have exactly one reason.
"""

from dataclasses import dataclass

import codec
from codec import BIT_A, BIT_C, BIT_K, Malformed, Parsed
from contexts import Counters, DeviceContext, Entry, Record, ServerContext
from fleet import Session
from keys import floor_key, hello_key, r_proves_itself

FIRST_RESERVED_BOOT = 0xFF000000
FIRST_REFUSED_FLOOR = 0xFEFFFFFF


@dataclass(frozen=True)
class Verdict:
    """`stage` is "accepted" or where it ends; `effect` what changes nevertheless."""

    stage: str
    reason: str | None = None
    effect: str = "none"
    answer: str | None = None
    answer_datagram: bytes | None = None


ACCEPTED = Verdict("accepted")


def judge(context: DeviceContext | ServerContext | None, datagram: bytes) -> Verdict:
    try:
        parsed = codec.parse(datagram)
    except Malformed as malformed:
        return Verdict("parse", str(malformed))
    if context is None:
        raise AssertionError("well-formed, and no context to receive it in")
    judges = _ON_SERVER if context.receiver == "server" else _ON_DEVICE
    if parsed.kind not in judges:
        return Verdict("route", "wrong_direction")
    return judges[parsed.kind](context, parsed, datagram)


# --- the server ------------------------------------------------------------------------------


def _server_hello(context: ServerContext, parsed: Parsed, datagram: bytes) -> Verdict:
    fields = parsed.fields
    record = next((r for r in context.records if r.devices[0].device_id == fields["device_id"]), None)
    if record is None:
        return Verdict("route", "unknown_device")
    if record.status != "active":
        return Verdict("route", "device_not_active")
    bits = parsed.flags >> 2 & 3
    device = next((d for d in record.devices if d.generation % 4 == bits), None)
    if device is None:
        return Verdict("route", "unknown_generation")
    key = hello_key(device.key, device.device_id)
    if parsed.open(key, fields["epoch"] + fields["salt"]) is None:
        return Verdict("open", "bad_tag")
    if int.from_bytes(fields["epoch"][:4], "big") >= FIRST_RESERVED_BOOT:
        return Verdict("state", "boot_count_reserved")
    return _server_verified_hello(record, device, fields, datagram)


def _server_verified_hello(record: Record, device, fields: dict, datagram: bytes) -> Verdict:
    candidate, confirmed = record.candidate, record.confirmed
    if candidate and candidate.welcome_kept and candidate.session.hello().datagram == datagram:
        return ACCEPTED
    if confirmed and (confirmed.session.epoch, confirmed.session.salt) == (fields["epoch"], fields["salt"]):
        # Its tag is in memory with its Welcome; after a crash epoch and salt decide.
        if not confirmed.welcome_kept or confirmed.session.hello().datagram == datagram:
            return Verdict("window", "replayed")
    verdict = record.window.verdict(int.from_bytes(fields["epoch"], "big"))
    if verdict == "fresh":
        return ACCEPTED
    floor = device.floor(fields["epoch"], fields["salt"], record.newest).datagram
    return Verdict("window", verdict, answer="floor", answer_datagram=floor)


def _server_data(context: ServerContext, parsed: Parsed, _datagram: bytes) -> Verdict:
    record, entry = _entry_by_cid(context, parsed.fields["cid"])
    if entry is None:
        return Verdict("route", "unknown_cid")
    if record.status != "active":
        return Verdict("route", "device_not_active")
    if entry.counters is None:
        return _server_data_without_counters(entry.session, parsed)
    return _data(parsed, entry.session.up_key, entry.counters, _uplink_control)


def _entry_by_cid(context: ServerContext, cid: bytes) -> tuple[Record | None, Entry | None]:
    for record in context.records:
        for entry in (record.confirmed, record.candidate):
            if entry and entry.session.cid == cid:
                return record, entry
    return None, None


def _server_data_without_counters(session: Session, parsed: Parsed) -> Verdict:
    number = _number(parsed, None)
    if parsed.open(session.up_key, codec.data_nonce(number)) is None:
        return Verdict("open", "bad_tag")
    reset = session.reset(number, len(parsed.fields["seq"])).datagram
    return Verdict("state", "no_counters", answer="reset", answer_datagram=reset)


# --- the device ------------------------------------------------------------------------------


def _device_welcome(context: DeviceContext, parsed: Parsed, _datagram: bytes) -> Verdict:
    unrouted = _not_the_outstanding_hello(context, parsed)
    if unrouted:
        return unrouted
    hello = context.hello
    keys = Session(hello.device, hello.epoch, hello.salt, parsed.fields["server_salt"], b"")
    cid = parsed.open(keys.down_key, b"\x01" + bytes(11))
    if cid is None:
        return Verdict("open", "bad_tag")
    if not codec.cid_valid(cid):
        return Verdict("content", "invalid_cid", effect="hello_consumed", answer="hello")
    return ACCEPTED


def _device_floor(context: DeviceContext, parsed: Parsed, _datagram: bytes) -> Verdict:
    unrouted = _not_the_outstanding_hello(context, parsed)
    if unrouted:
        return unrouted
    device, floor = context.device, parsed.fields["floor"]
    key = floor_key(device.key, device.device_id, floor)
    if parsed.open(key, context.hello.epoch + context.hello.salt) is None:
        return Verdict("open", "bad_tag")
    if int.from_bytes(floor[:4], "big") >= FIRST_REFUSED_FLOOR:
        return Verdict("state", "floor_refused")
    return ACCEPTED


def _not_the_outstanding_hello(context: DeviceContext, parsed: Parsed) -> Verdict | None:
    if context.hello is None:
        return Verdict("route", "no_hello_outstanding")
    if parsed.fields["echo"] != context.hello.salt[:2]:
        return Verdict("route", "echo_mismatch")
    return None


def _device_data(context: DeviceContext, parsed: Parsed, _datagram: bytes) -> Verdict:
    entry = context.session
    if entry is None or entry.session.cid != parsed.fields["cid"]:
        return Verdict("route", "unknown_cid")
    control = lambda message, _c: _downlink_control(context, message)  # noqa: E731
    return _data(parsed, entry.session.down_key, entry.counters, control)


def _device_reset(context: DeviceContext, parsed: Parsed, _datagram: bytes) -> Verdict:
    entry = context.session
    if entry is None or entry.session.cid != parsed.fields["cid"]:
        return Verdict("route", "unknown_cid")
    number = _number(parsed, entry.counters.highest_acknowledged)
    faults = [
        ("open", "bad_tag", parsed.open(entry.session.down_key, codec.reset_nonce(number)) is None),
        ("state", "number_never_sent", number >= entry.counters.next_number),
        ("state", "number_acknowledged", number in entry.counters.acknowledged),
        ("state", "hello_outstanding", context.hello is not None),
    ]
    found = [(stage, reason) for stage, reason, present in faults if present]
    if len(found) > 1:
        raise AssertionError(f"more than one reason: {found}")
    return Verdict(*found[0]) if found else ACCEPTED


# --- Data, either way ------------------------------------------------------------------------


def _number(parsed: Parsed, highest: int | None) -> int:
    seq = parsed.fields["seq"]
    return int.from_bytes(seq, "big") if len(seq) == 2 else codec.reconstruct(seq[0], highest)


def _data(parsed: Parsed, key: bytes, counters: Counters, control) -> Verdict:
    number = _number(parsed, counters.window.highest)
    verdict = counters.window.verdict(number)
    plaintext = parsed.open(key, codec.data_nonce(number))
    if verdict != "fresh" and plaintext is None:
        raise AssertionError("more than one reason: not fresh, and the tag does not verify")
    if plaintext is None:
        return Verdict("open", "bad_tag")
    if verdict != "fresh":
        repeat = verdict == "replayed" and parsed.flags & BIT_C
        return Verdict("window", verdict, answer="acknowledgement" if repeat else None)
    reason = _malformed_inside(parsed.flags, plaintext, counters.next_number, control)
    return Verdict("content", reason, effect="number_committed") if reason else ACCEPTED


def _malformed_inside(flags: int, plaintext: bytes, next_number: int, control) -> str | None:
    if flags & BIT_A:
        if len(plaintext) < codec.ACK_BLOCK_LEN:
            return "short_ack_block"
        numbers = codec.ack_decode(plaintext[: codec.ACK_BLOCK_LEN])
        if numbers[0] < 0 or numbers[-1] >= next_number:
            return "acknowledged_never_sent"
        plaintext = plaintext[codec.ACK_BLOCK_LEN :]
    if not flags & BIT_K:
        return None
    return control(plaintext, flags & BIT_C) if plaintext else "empty_control"


def _uplink_control(message: bytes, c: int) -> str | None:
    lengths = {codec.KIND_CLOSE: 1, codec.KIND_MOVED: 5}
    if message[0] == codec.KIND_ROTATE:
        return "control_wrong_direction"
    if len(message) != lengths.get(message[0], len(message)):
        return "control_length"
    return "close_with_c" if message[0] == codec.KIND_CLOSE and c else None


def _downlink_control(context: DeviceContext, message: bytes) -> str | None:
    if message[0] in (codec.KIND_CLOSE, codec.KIND_MOVED):
        return "control_wrong_direction"
    if message[0] != codec.KIND_ROTATE:
        return None
    if len(message) != 34:
        return "control_length"
    device = context.session.session.device
    if message[1] != device.generation + 1:
        return None
    proven = r_proves_itself(device.rotation_key, device.device_id, message[1], message[2:])
    return None if proven else "rotate_not_proven"


_ON_SERVER = {"hello": _server_hello, "data": _server_data}
_ON_DEVICE = {"welcome": _device_welcome, "floor": _device_floor, "data": _device_data, "reset": _device_reset}
