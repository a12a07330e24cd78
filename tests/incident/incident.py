#!/usr/bin/env python3
"""A Linux guest hangs, and its watchdog resets the machine; then it panics, and says so by pvpanic: what QMP tells of that,
what is in a dump, and what the exit status is. Speaks TAP.

usage: incident.py VENEER SOURCE-DIR GUEST ENGINE...

GUEST is a directory that guests/fetch-debian.sh --full has filled: the smaller kernel has no driver of the watchdog."""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE = 120 * int(os.environ.get("TIMEOUT_SCALE", "1"))
tests = failures = 0


def check(name, good, said=""):
    global tests, failures
    tests += 1
    failures += not good
    print(f"{'ok' if good else 'not ok'} {tests} - {name}", flush=True)
    if not good and said:
        print("\n".join("# " + line for line in str(said).splitlines()[-20:]))


class Monitor:
    """A QMP client. Events that come are kept in a list."""

    def __init__(self, path):
        self.end = time.monotonic() + PATIENCE
        self.events = []
        self.socket = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > self.end:
                    raise
                time.sleep(0.1)
        self.socket.settimeout(PATIENCE)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.ask("qmp_capabilities")

    def line(self):
        text = self.file.readline()
        if not text:
            raise EOFError("the monitor has gone")
        return json.loads(text)

    def ask(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        while True:
            answer = self.line()
            if "event" not in answer:
                return answer
            self.events.append(answer)

    def wait(self, name):
        """The next event of that name."""
        while True:
            for i, event in enumerate(self.events):
                if event["event"] == name:
                    del self.events[: i + 1]
                    return event.get("data", {})
            self.events.append(self.line())


def initramfs(source, guest, path):
    modules = ["i6300esb", "pvpanic-pci", "pvpanic-mmio", "qemu_fw_cfg"]
    subprocess.run(
        [f"{source}/guests/make-initramfs.sh", path, "--guest", guest, "--init",
         f"{source}/tests/incident/guest-init.sh"] + [word for name in modules for word in ("--module", name)],
        check=True)


def hangs_and_panics(veneer, guest, work, engine):
    log, control, core = f"{work}/{engine}.log", f"{work}/{engine}.sock", f"{work}/{engine}.core"
    machine = subprocess.Popen(
        [veneer, "qemu", "-accel", "tcg" if engine == "bt" else engine, "-m", "256", "-nodefaults", "-display", "none",
         "-kernel", f"{guest}/vmlinuz", "-initrd", f"{work}/initramfs", "-append", "console=ttyS0 panic=0",
         "-serial", f"file:{log}", "-qmp", f"unix:{control},server=on,wait=off", "-device", "i6300esb",
         "-device", "pvpanic", "-device", "vmcoreinfo", "-watchdog-action", "reset", "-action", "panic=pause"],
        stdin=subprocess.DEVNULL)
    try:
        monitor = Monitor(control)
        check(f"{engine}: a watchdog that is not fed resets the machine", monitor.wait("WATCHDOG")["action"] == "reset")
        check(f"{engine}: the reset is the guest's", monitor.wait("RESET")["reason"] == "guest-reset")
        check(f"{engine}: a panic is told", monitor.wait("GUEST_PANICKED")["action"] == "pause")
        monitor.wait("STOP")
        state = monitor.ask("query-status")["return"]["status"]
        check(f"{engine}: the machine is paused for it", state == "guest-panicked", state)
        answer = monitor.ask("dump-guest-memory", paging=False, protocol=f"file:{core}")
        notes = subprocess.run(["readelf", "--notes", core], capture_output=True, text=True).stdout
        with open(core, "rb") as file:
            head = file.read(65536)
        check(f"{engine}: a dump has the kernel's own note", "VMCOREINFO" in notes and b"\nKERNELOFFSET=" in head,
              f"{answer}\n{notes}")
        monitor.ask("cont")
        state = monitor.ask("query-status")["return"]["status"]
        check(f"{engine}: it can go on", state == "running", state)
        monitor.ask("quit")
        check(f"{engine}: the end is no failure", machine.wait(PATIENCE) == 0)
    except (OSError, EOFError, KeyError, subprocess.TimeoutExpired) as error:
        with open(log, errors="replace") as file:
            check(f"{engine}: the guest hangs and panics", False, f"{error!r}\n{file.read()}")
    finally:
        machine.kill()
        machine.wait()


def panic_ends(veneer, guest, work, engine):
    """Without a watchdog it panics at once."""
    run = subprocess.run(
        [veneer, "run", "--engine", engine, "--memory", "256M", "--kernel", f"{guest}/vmlinuz", "--initrd",
         f"{work}/initramfs", "--append", "console=ttyS0 panic=0", "--on-panic", "shutdown"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    check(f"{engine}: a panic ends the machine with a status of its own", run.returncode == 8,
          f"{run.returncode}\n{run.stdout.decode(errors='replace')}")


veneer, source, guest, *engines = sys.argv[1:]
with tempfile.TemporaryDirectory() as work:
    initramfs(source, guest, f"{work}/initramfs")
    for engine in engines:
        hangs_and_panics(veneer, guest, work, engine)
        panic_ends(veneer, guest, work, engine)
print(f"1..{tests}")
sys.exit(failures != 0)
