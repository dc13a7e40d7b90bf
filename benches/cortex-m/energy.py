"""A worked example of what a day of telemetry costs in energy: the figures of the table with assumptions that are told.
It is reasoning, no measurement."""

# One telemetry of 16 bytes a minute. Every tenth asks for an acknowledgement, as `confirm_after_ms` has it.
SENT, CONFIRMED = 1440, 144
# Bytes of each: a header of 3, the payload, a tag of 16; of those with C one byte of number and an acknowledgement block
# more; of the server's acknowledgement.
DATAGRAM, CONFIRMING, ANSWER = 3 + 16 + 16, 1 + 3, 3 + 3 + 16
OVERHEAD = 3 + 16
# A core at 64 MHz that takes 3.3 mA at 3 V, with one and a half cycles an instruction.
CPU_W, CYCLES_S, CYCLES = 3.3e-3 * 3, 64e6, 1.5
# A byte on air: IEEE 802.15.4 at 250 kbit/s with 5 mA at 3 V; LoRa at SF9 (1,758 bit/s) with 40 mA at 3.3 V.
RADIOS = {"IEEE 802.15.4": 8 / 250e3 * 5e-3 * 3, "LoRa, SF9": 8 / 1758 * 40e-3 * 3.3}


def example(build: dict) -> str:
    counts = {name: numbers[0] for name, numbers in build["counts"].items()}
    more = counts["device/send-confirmed/16"] - counts["device/send/16"]
    instructions = SENT * counts["device/send/16"] + CONFIRMED * (more + counts["device/receive/16"])
    computing = instructions * CYCLES / CYCLES_S * CPU_W
    all_bytes = SENT * DATAGRAM + CONFIRMED * (CONFIRMING + ANSWER)
    own_bytes = SENT * OVERHEAD + CONFIRMED * (CONFIRMING + ANSWER)
    lines = [f"| computing: {instructions:,} instructions | {1e3 * computing:.1f} mJ |"]
    for radio, joule in RADIOS.items():
        lines.append(f"| on air by {radio}: {all_bytes:,} bytes, {own_bytes:,} of them Moteseal's | "
                     f"{1e3 * joule * all_bytes:,.0f} mJ, {1e3 * joule * own_bytes:,.0f} mJ |")
    instruction = CYCLES / CYCLES_S * CPU_W
    bytes_worth = {radio: joule / instruction for radio, joule in RADIOS.items()}
    worth = "; ".join(f"{radio}: {count:,.0f}" for radio, count in bytes_worth.items())
    return (
        "One telemetry of 16 bytes a minute on an M4 at 64 MHz, 3.3 mA and 3 V, 1.5 cycles an instruction (assumed); "
        "one in ten asks for an acknowledgement and gets it. What lies below UDP, waking up and waiting are not in it.\n\n"
        "| a day | energy |\n| --- | --- |\n" + "\n".join(lines) + "\n\n"
        f"So many instructions cost what one byte on air costs. {worth}. Bytes decide, not the cipher.\n"
    )
