"""Runs the Python device and server against the Rust ones, over UDP on the loopback interface, faults included.

    python3 interop.py                       # each scenario once, and the must-fail controls; closes with a count
    python3 interop.py --deep --rounds 20   # each scenario with 20 seeds, and those that take minutes
    python3 interop.py --only rotation -v

The program is target/debug/moteseal unless told otherwise. It exits with 1 if anything failed.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import interop_attacks  # noqa: F401  (scenarios register themselves)
import interop_crashes  # noqa: F401
import interop_device_abuse  # noqa: F401
import interop_scenarios
import interop_server_abuse  # noqa: F401
from interop_breaks import CONTROLS
from interop_scenarios import DEEP
from interop_sides import Failed
from interop_world import World

# What runs without the Rust side in the short form too: if one of these fails, look at the Python side first.
SANITY = {"life", "life_on_a_rough_network", "lost_counter", "server_killed", "rotation"}
CONTROL_PATIENCE = 9.0
PROGRAM = Path(__file__).parent.parent / "target" / "debug" / "moteseal"


@dataclass(frozen=True)
class Job:
    name: str
    pair: str
    seed: int
    broken: str | None = None

    def __str__(self) -> str:
        broken = f", wrong: {self.broken}" if self.broken else ""
        return f"{self.name} [{self.pair}, seed {self.seed}{broken}]"


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    made_again: int = 0
    audited: int = 0

    def count(self, what: str, problem: str | None, seconds: float, verbose: bool) -> None:
        if problem is None:
            self.passed += 1
        else:
            self.failed += 1
        if problem or verbose:
            print(
                f"{'FAILED' if problem else 'passed'} {seconds:5.1f} s  {what}{': ' + problem if problem else ''}",
                flush=True,
            )


async def run(job: Job, args: argparse.Namespace, tally: Tally) -> str | None:
    """Why it failed, or None."""
    with tempfile.TemporaryDirectory(prefix="interop-") as directory:
        patience = CONTROL_PATIENCE if job.broken else args.patience
        world = World(Path(directory), job.seed, patience, job.pair, args.program, job.broken)
        scenario, _ = interop_scenarios.SCENARIOS[job.name]
        try:
            await scenario(world)
            world.check_ledger()
            await asyncio.to_thread(world.check_capture)
        except Failed as failed:
            return str(failed)
        except Exception:
            return traceback.format_exc()
        finally:
            await world.stop()
        tally.made_again += world.rust_made_again()
        tally.audited += sum(world.auditor.made_again.values())
    return None


def jobs(args: argparse.Namespace) -> list[Job]:
    named = interop_scenarios.SCENARIOS.items()

    def fits(name: str, pair: str) -> bool:
        if args.only or args.pair:
            named = name == args.only if args.only else args.deep or name not in DEEP
            return named and args.pair in (None, pair)
        return args.deep or name not in DEEP and (pair != "python-python" or name in SANITY)

    chosen = [(n, pair) for n, (_, pairs) in named for pair in pairs if fits(n, pair)]
    return [Job(n, pair, args.seed + i) for i in range(args.rounds) for n, pair in chosen]


async def main_of(args: argparse.Namespace) -> int:
    tally, gate = Tally(), asyncio.Semaphore(args.jobs)

    async def one(job: Job) -> None:
        async with gate:
            begun = time.monotonic()
            problem = await run(job, args, tally)
            control = CONTROLS.get(job.broken) if job.broken else None
            tally.count(
                str(job), control.missed(problem) if control else problem, time.monotonic() - begun, args.verbose
            )

    # Told to stop, it ends the programs that it started.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)
    begun = time.monotonic()
    controls = [] if args.only or args.pair else [Job(c.scenario, c.pair, args.seed, n) for n, c in CONTROLS.items()]
    await asyncio.gather(*map(one, controls + jobs(args)))
    print(f"{tally.made_again} datagrams of the Rust side opened and made again byte for byte, {tally.audited} in all")
    wrong = sum(CONTROLS[job.broken].noticed is not None for job in controls if job.broken)
    print(f"{wrong} wrong implementations tried; {time.monotonic() - begun:.0f} s")
    print(f"{tally.passed} passed, {tally.failed} failed")
    return 1 if tally.failed or not tally.passed else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, default=PROGRAM, help="moteseal, as cargo built it")
    parser.add_argument("--deep", action="store_true", help="the scenarios too that take minutes")
    parser.add_argument("--rounds", type=int, default=1, help="how many seeds for each scenario")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--jobs", type=int, default=16, help="how many at one time")
    parser.add_argument("--only", help="one scenario, by name")
    parser.add_argument("--pair", choices=interop_scenarios.ALL_PAIRS, help="device and server")
    parser.add_argument("--patience", type=float, default=75, help="seconds to wait for what must come")
    parser.add_argument("-v", "--verbose", action="store_true")
    args = parser.parse_args()
    args.program = args.program.resolve()
    if not args.program.exists():
        raise SystemExit(f"{args.program}: build it first (cargo build), or name it by --program")
    try:
        sys.exit(asyncio.run(main_of(args)))
    except asyncio.CancelledError:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
