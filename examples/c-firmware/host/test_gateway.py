#!/usr/bin/env python3
"""The device of this directory against a real gateway, both as programs.

    test_gateway.py MOTESEAL DEVICE

MOTESEAL is the program `moteseal`, DEVICE the host build, by `make check` with sanitizers: what they find ends the
device with another exit status than is expected here."""

import contextlib
import json
import queue
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

MOTESEAL, DEVICE = (Path(path).resolve() for path in sys.argv[1:])
PAGE, FLASH = 4096, 65536
PATIENCE = 30
EVERY = 100


class Program:
    """A program whose lines of output are waited for."""

    def __init__(self, *command, before=None):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, preexec_fn=before)
        self.lines, self.all, self.errors = queue.Queue(), [], []
        self.threads = [threading.Thread(target=target) for target in (self._read, self._read_errors)]
        for thread in self.threads:
            thread.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_errors(self):
        self.errors.extend(self.process.stderr)

    def wait_for(self, wanted):
        """The next line for which `wanted` has something, as that."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self.lines.get(timeout=max(0, end - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError("it never said so: " + "\n".join([*self.all, *self.errors]))
            self.all.append(line)
            if found := wanted(line):
                return found

    def end(self, how=None):
        """Its exit status, and all that it has said; after a signal, if one is given."""
        if how is not None:
            self.process.send_signal(how)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        for thread in self.threads:
            thread.join()
        self.process.stdout.close()
        self.process.stderr.close()
        while (line := self.lines.get()) is not None:
            self.all.append(line)
        return status


class Gateway(Program):
    def __init__(self, directory, listen="127.0.0.1:0"):
        super().__init__(MOTESEAL, "serve", "--listen", listen, "--store", directory / "store",
                         "--registry", directory / "fleet/registry.csv",
                         "--rotation-keys", directory / "fleet/rotation-keys.csv")
        self.directory = directory
        self.address = self.wait_for_event("listening")["addr"]

    def wait_for_event(self, name):
        return self.wait_for(lambda line: (event := json.loads(line))["event"] == name and event)

    def request(self, *words):
        subprocess.run([MOTESEAL, words[0], "--store", self.directory / "store", *words[1:]], check=True,
                       stdout=subprocess.DEVNULL)

    def told(self):
        """The payloads that it has told, in order."""
        return [bytes.fromhex(event["payload"]) for event in self.events("early", "data")]

    def events(self, *names):
        return [event for event in map(json.loads, self.all) if event["event"] in names]


class Device(Program):
    def __init__(self, flash, server, every=EVERY):
        super().__init__(DEVICE, f"flash={flash}", f"server={server}", f"every={every}")

    def wait_for_line(self, pattern):
        return self.wait_for(lambda line: re.fullmatch(pattern, line))

    def acknowledged(self):
        """The payloads that it knows to be with the gateway."""
        sent = dict(re.findall(r"^sent (\d+) ([0-9a-f]+)$", "\n".join(self.all), re.M))
        tickets = re.findall(r"^acknowledged (\d+)$", "\n".join(self.all), re.M)
        return [bytes.fromhex(sent[ticket]) for ticket in tickets]


def no_file_may_grow():
    """In the child: writing to a file is an error from here on, as on a disk that is full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def flashed(image):
    """Flash as the factory leaves it: three parts of the image, and the boot counter at 0, a page each."""
    flash = bytearray(b"\xff" * FLASH)
    for part in range(3):
        flash[part * PAGE:part * PAGE + 64] = image[part * 64:(part + 1) * 64]
    flash[3 * PAGE:3 * PAGE + 8] = (0xFFFFFFFF).to_bytes(8, "big")
    return flash


class WithDirectory(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.programs = []
        self.addCleanup(self.kill_all)
        subprocess.run([MOTESEAL, "provision", "--count", "1", "--out", self.directory / "fleet"], check=True,
                       stdout=subprocess.DEVNULL)
        image = next((self.directory / "fleet/images").glob("*.bin"))
        self.id = image.stem
        self.flash = self.directory / "flash.bin"
        self.write_flash(flashed(image.read_bytes()))

    def kill_all(self):
        for program in self.programs:
            if program.process.poll() is None:
                program.end(signal.SIGKILL)

    def write_flash(self, contents):
        self.flash.touch(mode=0o600)
        self.flash.write_bytes(contents)

    def gateway(self, **options):
        self.programs.append(Gateway(self.directory, **options))
        return self.programs[-1]

    def device(self, gateway, **options):
        self.programs.append(Device(self.flash, gateway.address, **options))
        return self.programs[-1]


class AgainstTheGateway(WithDirectory):
    def test_telemetry_goes_out_and_a_command_comes_in(self):
        gateway = self.gateway()
        device = self.device(gateway)
        device.wait_for_line(rf"device {self.id} boot 1")
        first = bytes.fromhex(device.wait_for_line(r"sent 1 ([0-9a-f]+)")[1])
        self.assertRegex(first, rb"\A1\.1 \d\d\.\d\Z")
        device.wait_for_line(r"session 1\.0")
        device.wait_for_line(r"acknowledged 1")
        gateway.request("send", self.id, b"open".hex())
        device.wait_for_line(rf"command {b'open'.hex()} seq \d+ age \d+")
        gateway.wait_for_event("acknowledged")
        gateway.request("send", self.id, b"every 20".hex())
        device.wait_for_line(rf"command {b'every 20'.hex()} seq \d+ age \d+")
        device.wait_for_line(r"sent \S+ " + b"1.9".hex() + ".*")
        gateway.request("send", self.id, b"close".hex())
        device.wait_for_line(r"closed")
        self.assertEqual(device.end(), 0, device.errors)
        gateway.wait_for_event("closed")
        gateway.end(signal.SIGTERM)
        told = gateway.told()
        # Not the last one either is unknown.
        self.assertEqual(len(gateway.events("acknowledged")), 3)
        self.assertEqual(len(told), len(set(told)))
        self.assertEqual(set(device.acknowledged()) - set(told), set())

    def test_a_device_that_is_killed_comes_back_and_nothing_is_told_twice(self):
        gateway = self.gateway()
        acknowledged = []
        for boot in range(1, 6):
            device = self.device(gateway, every=10)
            device.wait_for_line(rf"device {self.id} boot {boot}")
            device.wait_for_line(rf"session {boot}\.0")
            for _ in range(3):
                device.wait_for_line(r"acknowledged \d+")
            self.assertEqual(device.end(signal.SIGKILL), -signal.SIGKILL)
            acknowledged += device.acknowledged()
        gateway.end(signal.SIGTERM)
        told = gateway.told()
        self.assertEqual(len(told), len(set(told)))
        self.assertEqual(set(acknowledged) - set(told), set())

    def test_a_gateway_that_is_killed_comes_back(self):
        gateway = self.gateway()
        device = self.device(gateway)
        device.wait_for_line(r"session 1\.0")
        gateway.end(signal.SIGKILL)
        # One asks for an acknowledgement; the next ones go out beside it.
        device.wait_for_line(r"sent - [0-9a-f]+")
        self.gateway(listen=gateway.address)
        device.wait_for_line(r"reset")
        device.wait_for_line(r"session 1\.1")
        device.wait_for_line(r"acknowledged \d+")

    def test_an_erased_boot_counter_is_moved_on(self):
        gateway = self.gateway()
        for _ in range(3):
            device = self.device(gateway)
            device.wait_for_line(r"session .*")
            device.end(signal.SIGKILL)
        contents = bytearray(self.flash.read_bytes())
        contents[3 * PAGE:5 * PAGE] = b"\xff" * 2 * PAGE
        self.write_flash(contents)
        device = self.device(gateway)
        device.wait_for_line(rf"device {self.id} boot 1")
        device.wait_for_line(r"stale 3\.\d+ moved")
        device.wait_for_line(r"session 4\.\d+")
        device.wait_for_line(r"acknowledged \d+")

    def test_a_key_is_rotated_and_outlives_a_reboot(self):
        gateway = self.gateway()
        device = self.device(gateway)
        device.wait_for_line(r"session 1\.0")
        gateway.request("rotate", self.id)
        device.wait_for_line(r"key taken 2")
        device.wait_for_line(r"rotated")
        gateway.wait_for_event("rotation_finished")
        device.end(signal.SIGKILL)
        self.assertEqual(self.flash.read_bytes()[PAGE:2 * PAGE], b"\xff" * PAGE)
        device = self.device(gateway)
        device.wait_for_line(r"session 2\.0")


class NothingIsSent(WithDirectory):
    """Whatever keeps the device from starting: it says so, exits with 1, and no datagram leaves it."""

    def setUp(self):
        super().setUp()
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.server.setblocking(False)
        self.words = [f"flash={self.flash}", f"server=127.0.0.1:{self.server.getsockname()[1]}", "every=10"]

    def assert_stops(self, why, *words, before=None):
        device = Program(DEVICE, *(words or self.words), before=before)
        self.programs.append(device)
        self.assertEqual((device.end(), device.errors), (1, []))
        self.assertEqual(len(device.all), 1)
        self.assertRegex(device.all[0], rf"\Astopped: .*{why}")
        # It has ended, so whatever it sent on this host is here.
        self.assertRaises(BlockingIOError, self.server.recv, 1)

    def test_with_blank_flash(self):
        self.write_flash(b"\xff" * FLASH)
        self.assert_stops("erased")
        self.assertEqual(self.flash.read_bytes(), b"\xff" * FLASH)

    def test_with_something_else_in_the_flash(self):
        self.write_flash(b"\x00" * FLASH)
        self.assert_stops("no factory image")

    def test_with_a_damaged_image(self):
        contents = bytearray(self.flash.read_bytes())
        contents[20] ^= 1
        self.write_flash(contents)
        self.assert_stops("damaged")

    def test_without_a_key(self):
        contents = bytearray(self.flash.read_bytes())
        contents[PAGE:2 * PAGE] = b"\xff" * PAGE
        self.write_flash(contents)
        self.assert_stops("key")

    def test_with_a_used_up_counter(self):
        contents = bytearray(self.flash.read_bytes())
        contents[3 * PAGE:3 * PAGE + 8] = (0xFFFFFFFF00000000).to_bytes(8, "big")
        self.write_flash(contents)
        self.assert_stops("counter")

    def test_with_flash_that_cannot_be_written(self):
        contents = self.flash.read_bytes()
        self.assert_stops("written", before=no_file_may_grow)
        self.assertEqual(self.flash.read_bytes(), contents)

    def test_with_another_file(self):
        self.write_flash(b"\xff" * (FLASH + 1))
        self.assert_stops("another length")
        self.flash.unlink()
        self.assert_stops("cannot be opened")

    def test_beside_another_device_on_the_same_flash(self):
        first = Program(DEVICE, *self.words)
        self.programs.append(first)
        first.wait_for(lambda line: line.startswith("device"))
        first.process.send_signal(signal.SIGSTOP)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.server.recv(2000)
        self.assert_stops("in use")

    def test_with_wrong_options(self):
        for words in [["nonsense"], self.words[:1], self.words[1:], [*self.words, "every=0"]]:
            self.assert_stops("options", *words)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
