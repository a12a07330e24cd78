#!/usr/bin/env python3
"""Disks and networks of veneer and of QEMU's TCG, side by side, in one run.

Both boot the same Debian image with the same kernel and command line, two processors and 1 GiB. What
is measured:

  boot         process start to the login prompt
  fio          4 KiB random reads at depth 1 and 32, sequential reads and writes of 1 MiB, of a
               second disk whose file is in the host's page cache
  iperf3       both ways through the user network, to a server on the host
  guests       iperf3 between two guests on one switch (QEMU: -netdev dgram)

usage: bench/run.sh io [--only NAME,...] [--runs N] [--seconds N] [--image FILE] [--veneer FILE]
                       [--engine NAME] [--cpus N] [--no-qemu] [--out FILE]

The image is made by `veneer image` once, with fio and iperf3 in it."""
import argparse
import json
import os
import pathlib
import re
import select
import shutil
import signal
import statistics
import subprocess
import sys
import time

BENCH = pathlib.Path(__file__).resolve().parent
PROJECT = BENCH.parent
WORK = PROJECT / ".cache" / "bench" / "io"
PATIENCE = 300  # seconds of silence after which a guest hangs
DISK_BYTES = 1 << 30
PORT = 5299

ROWS = [  # name, unit, is more better?
    ("boot", "s", False),
    ("random read, depth 1", "IOPS", True),
    ("random read, depth 32", "IOPS", True),
    ("sequential read", "MB/s", True),
    ("sequential write", "MB/s", True),
    ("network, guest to host", "Mbit/s", True),
    ("network, host to guest", "Mbit/s", True),
    ("network, guest to guest", "Mbit/s", True),
]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Guest:
    """A machine whose console is on a pair of pipes, with root logged in."""

    def __init__(self, name, command):
        self.name = name
        self.log = open(WORK / f"{name}.log", "wb")
        self.seen = b""
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=open(WORK / f"{name}.err", "wb"),
                                        start_new_session=True)
        self.wait_for(rb"login: ")
        self.boot_seconds = time.monotonic() - self.started

    def wait_for(self, pattern, patience=PATIENCE):
        """Read until the pattern comes; what comes after it is kept for the next call."""
        while not (found := re.search(pattern, self.seen)):
            ready, _, _ = select.select([self.process.stdout], [], [], patience)
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                raise RuntimeError(f"{self.name}: {'ended' if ready else 'silent'} "
                                   f"before {pattern!r}; see {self.log.name}")
            self.log.write(data)
            self.log.flush()
            self.seen += data
        before = self.seen[:found.start()]
        self.seen = self.seen[found.end():]
        return before.decode(errors="replace"), found

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def log_in(self):
        self.send("root\n")
        self.wait_for(rb"# ")
        self.run("stty -echo; PS1=; dmesg -n 1")

    def run(self, command, patience=PATIENCE):
        """Run a shell command and return what it wrote."""
        self.send(f"{command}; echo @@''ended $?\n")
        output, found = self.wait_for(rb"@@ended (\d+)\r?\n", patience)
        if found.group(1) != b"0":
            raise RuntimeError(f"{self.name}: {command!r} ended with {found.group(1).decode()}: "
                               f"{output[-500:]}")
        return output

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.log.close()


class Machines:
    """The command lines of the two monitors."""

    def __init__(self, options):
        self.options = options
        self.kernel, self.initrd = extract_kernel(options.image)
        self.arguments = "root=/dev/vda rw console=ttyS0 quiet"

    def command(self, monitor, net, data_disk, number=1):
        image, memory, cpus = self.options.image, "1G", str(self.options.cpus)
        if monitor == "veneer":
            command = [self.options.veneer, "run", "--engine", self.options.engine,
                       "--kernel", self.kernel, "--initrd", self.initrd,
                       "--append", self.arguments, "--memory", memory, "--cpus", cpus,
                       "--disk", f"{image},snapshot,format=raw", "--net", net]
            if data_disk:
                command += ["--disk", f"{data_disk},format=raw"]
        else:
            command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max",
                       "-machine", "q35", "-nographic", "-nodefaults", "-serial", "stdio",
                       "-kernel", self.kernel, "-initrd", self.initrd, "-append", self.arguments,
                       "-m", memory, "-smp", cpus,
                       "-drive", f"file={image},if=virtio,format=raw,snapshot=on",
                       "-netdev", f"{net},id=n0",
                       "-device", f"virtio-net-pci,netdev=n0,mac=52:54:00:00:00:0{number}"]
            if data_disk:
                command += ["-drive", f"file={data_disk},if=virtio,format=raw,cache=writeback,"
                                      "aio=io_uring"]
        return [str(word) for word in command]


def extract_kernel(image):
    """Kernel and initrd of a whole-disk ext4 image."""
    debugfs = shutil.which("debugfs") or "/sbin/debugfs"

    def ask(command):
        return subprocess.run([debugfs, "-R", command, str(image)], check=True, text=True,
                              capture_output=True).stdout

    names = re.findall(r"(vmlinuz-\S+|initrd\.img-\S+)", ask("ls /boot"))
    found = []
    for prefix in ("vmlinuz-", "initrd.img-"):
        name = sorted(name for name in names if name.startswith(prefix))[-1]
        ask(f"dump /boot/{name} {WORK / prefix.rstrip('-')}")
        found.append(WORK / prefix.rstrip("-"))
    return found


def make_image(options):
    if options.image:
        return pathlib.Path(options.image).resolve()
    image = WORK / "debian.img"
    if not image.exists():
        say("making the image")
        subprocess.run([options.veneer, "image", str(image), "--size", "4G",
                        "--packages", "fio,iperf3"], check=True)
    return image


def fio(guest, seconds, mode, size, depth):
    """Bandwidth in MB/s, and I/Os a second."""
    output = guest.run(f"fio --name=x --filename=/dev/vdb --direct=1 --ioengine=libaio "
                       f"--rw={mode} --bs={size} --iodepth={depth} --time_based "
                       f"--runtime={seconds} --norandommap --output-format=json")
    job = json.loads(output[output.index("{"):output.rindex("}") + 1])["jobs"][0]
    half = job["write" if "write" in mode else "read"]
    return half["bw_bytes"] / 1e6, half["iops"]


def iperf(guest, server, seconds, reverse=False):
    output = guest.run(f"iperf3 -J -p {PORT} -c {server} -t {seconds} {'-R' if reverse else ''}")
    ended = json.loads(output[output.index("{"):output.rindex("}") + 1])["end"]
    return ended["sum_received"]["bits_per_second"] / 1e6


def measure_one(machines, monitor, wanted, results):
    """Boot, fio and the user network, in one guest."""
    seconds = machines.options.seconds
    disk = WORK / "data.img"
    guest = Guest(monitor, machines.command(monitor, "user", disk))
    try:
        results["boot"].append(guest.boot_seconds)
        if not wanted & {"fio", "iperf3"}:
            return
        guest.log_in()
        if "fio" in wanted:
            results["random read, depth 1"].append(fio(guest, seconds, "randread", "4k", 1)[1])
            results["random read, depth 32"].append(fio(guest, seconds, "randread", "4k", 32)[1])
            results["sequential read"].append(fio(guest, seconds, "read", "1m", 4)[0])
            results["sequential write"].append(fio(guest, seconds, "write", "1m", 4)[0])
        if "iperf3" in wanted:
            server = subprocess.Popen(["iperf3", "-s", "-p", str(PORT)], stdout=subprocess.DEVNULL)
            try:
                time.sleep(0.5)
                results["network, guest to host"].append(iperf(guest, "10.0.2.2", seconds))
                results["network, host to guest"].append(iperf(guest, "10.0.2.2", seconds, True))
            finally:
                server.kill()
                server.wait()
    finally:
        guest.end()


def measure_two(machines, monitor, results):
    """Two guests with nothing but each other."""
    meeting = WORK / "switch"
    shutil.rmtree(meeting, ignore_errors=True)
    ends = [WORK / "first", WORK / "second"]
    for end in ends:
        end.unlink(missing_ok=True)
    if monitor == "veneer":
        nets = [f"switch={meeting}"] * 2
    else:
        nets = [f"dgram,local.type=unix,local.path={here},remote.type=unix,remote.path={there}"
                for here, there in (ends, reversed(ends))]
    guests = []
    try:
        for number, net in enumerate(nets, 1):
            guest = Guest(f"{monitor}-{number}", machines.command(monitor, net, None, number))
            guests.append(guest)
            guest.log_in()
            guest.run("systemctl stop systemd-networkd.socket systemd-networkd; "
                      "n=$(ls /sys/class/net | grep -v lo); "
                      f"ip addr add 10.9.0.{number}/24 dev $n; ip link set $n up")
        guests[0].run(f"iperf3 -s -D -p {PORT}; sleep 1")
        results["network, guest to guest"].append(
            iperf(guests[1], "10.9.0.1", machines.options.seconds))
    finally:
        for guest in guests:
            guest.end()


def table(monitors, results):
    lines = ["| | " + " | ".join(monitors) + " | ratio |",
             "|---|" + "---:|" * (len(monitors) + 1)]
    for name, unit, more in ROWS:
        values = [results[monitor][name] for monitor in monitors]
        if not any(values):
            continue
        cells = [f"{statistics.median(v):,.2f}" if unit == "s" else f"{statistics.median(v):,.0f}"
                 if v else "n/a" for v in values]
        ratio = "n/a"
        if len(values) == 2 and all(values):
            veneer, qemu = (statistics.median(v) for v in values)
            ratio = f"{veneer / qemu:.2f}" + (" x" if more else "")
        lines.append(f"| {name}, {unit} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines)


def parse():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--only", default="boot,fio,iperf3,guests")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--image")
    parser.add_argument("--veneer", default=str(PROJECT / "build" / "veneer"))
    parser.add_argument("--engine", default="bt")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--out")
    return parser.parse_args()


def main():
    options = parse()
    WORK.mkdir(parents=True, exist_ok=True)
    options.image = make_image(options)
    wanted = set(options.only.split(","))
    monitors = ["veneer"] if options.no_qemu else ["veneer", "qemu"]
    machines = Machines(options)
    results = {monitor: {row[0]: [] for row in ROWS} for monitor in monitors}
    with open(WORK / "data.img", "wb") as disk:
        for _ in range(DISK_BYTES >> 20):
            disk.write(os.urandom(1 << 20))
    for run in range(options.runs):
        for monitor in monitors:
            say(f"run {run + 1} of {options.runs}: {monitor}")
            try:
                if wanted - {"guests"}:
                    measure_one(machines, monitor, wanted, results[monitor])
                if "guests" in wanted:
                    measure_two(machines, monitor, results[monitor])
            except (RuntimeError, ValueError) as error:
                say(f"  {error}")
    text = table(monitors, results)
    print(text)
    if options.out:
        pathlib.Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
