"""Control messages as a device judges and obeys them: *rotate* and the key slots. SPEC 10.1, 10.2."""

import codec
from device_store import DeviceStore, Slot
from keys import r_proves_itself, rotated_key

ROTATE_LEN = 34


def epoch_text(epoch: bytes) -> str:
    return f"{int.from_bytes(epoch[:4], 'big')}.{int.from_bytes(epoch[4:], 'big')}"


def fault(store: DeviceStore, generation: int, message: bytes) -> str | None:
    """Why a control message is malformed, before anything is written (9.7, M-115). `generation`: the session's."""
    if message[0] in (codec.KIND_CLOSE, codec.KIND_MOVED):
        return "control_wrong_direction"
    if message[0] != codec.KIND_ROTATE:
        return None
    if len(message) != ROTATE_LEN:
        return "control_length"
    if message[1] != generation + 1:
        return None
    proven = r_proves_itself(store.rotation_key, store.device_id, message[1], message[2:])
    return None if proven else "rotate_not_proven"


def obey(store: DeviceStore, generation: int, message: bytes) -> Slot | None:
    """The slot under which a Hello must follow, once its key is in flash. Unknown kinds, and a rotate for another
    generation than the next, do nothing (M-114, M-116)."""
    if message[0] != codec.KIND_ROTATE or message[1] != generation + 1:
        return None
    slot = Slot(message[1], rotated_key(store.rotation_key, store.device_id, message[1], message[2:]))
    if slot not in store.slots:  # M-121; another r that proves itself replaces the slot, M-122
        own = next(s for s in store.slots if s.generation == generation)
        store.set_slots([own, slot])
    return slot
