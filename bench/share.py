#!/usr/bin/env python3
"""Shared directories (virtio-9p) of veneer and of QEMU's TCG, side by side, in one run.

Both boot Debian's full kernel with the same initramfs and command line, and mount the same directory
in the same way. What is measured, by the guest's clock:

  read     a file of 1 GiB, sequentially, that is in the host's page cache
  untar    an archive of 10,000 small files, from the share into the share (--directories: hundreds of them)
  find     each of these files looked at, after the guest's caches were dropped
  remove   all of them

usage: bench/run.sh share [--runs N] [--directories N] [--cpus N] [--options MOUNT-OPTIONS] [--security MODEL]
                          [--guest DIR] [--veneer FILE] [--engine NAME] [--no-qemu] [--out FILE]

The guest is what guests/fetch-debian.sh --full has left."""
import argparse
import pathlib
import random
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import io

BENCH = pathlib.Path(__file__).resolve().parent
PROJECT = BENCH.parent
WORK = PROJECT / ".cache" / "bench" / "share"
PATIENCE = 1200  # seconds for one machine
FILE_BYTES = 1 << 30
FILES = 100  # of each directory

ROWS = [("read", "1 GiB read, MB/s"), ("untar", "untar, s"), ("find", "find, s"),
        ("remove", "remove, s")]

INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
modprobe virtio_pci; modprobe 9p; modprobe 9pnet_virtio
mkdir -p /mnt
mount -t 9p -o trans=virtio,version=9p2000.L,$mount share /mnt || poweroff -f
cd /mnt
now() { cut -d ' ' -f 1 /proc/uptime; }
run() { name=$1; shift; echo 3 >/proc/sys/vm/drop_caches; a=$(now); "$@"; echo "@ $name $a $(now)"; }
look() { [ "$(find tree -type f -size +0 | wc -l)" = $count ] || echo "@ wrong"; }
run read dd if=large of=/dev/null bs=1M 2>/dev/null
run untar tar xf tree.tar
run find look
run remove rm -r tree
echo "@ done"
poweroff -f
"""


def make_share(directories):
    share = WORK / "share"
    share.mkdir(parents=True, exist_ok=True)
    large = share / "large"
    if not large.exists():
        with open(large, "wb") as file:
            for _ in range(FILE_BYTES >> 20):
                file.write(bytes(range(256)) * 4096)
    archive = share / "tree.tar"
    dice = random.Random(9)
    with tarfile.open(archive, "w") as tar:
        for d in range(directories):
            for f in range(FILES):
                entry = tarfile.TarInfo(f"tree/dir{d:02}/file{f:02}.c")
                entry.size = int(min(dice.lognormvariate(8.5, 1.2), 200000)) + 1
                tar.addfile(entry, io.BytesIO(dice.randbytes(entry.size)))
    return share


def command(monitor, options, share, initramfs):
    kernel = f"{options.guest}/vmlinuz"
    append = f"console=ttyS0 quiet panic=-1 no_timer_check mount={options.options} " \
             f"count={options.directories * FILES}"
    if monitor == "veneer":
        return [options.veneer, "run", "--engine", options.engine, "--kernel", kernel,
                "--initrd", str(initramfs), "--append", append, "--memory", "1G",
                "--cpus", str(options.cpus), "--share", f"{share},security={options.security}"]
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-machine", "q35",
            "-nographic", "-nodefaults", "-serial", "stdio", "-no-reboot", "-kernel", kernel,
            "-initrd", str(initramfs), "-append", append, "-m", "1G", "-smp", str(options.cpus),
            "-virtfs", f"local,path={share},mount_tag=share,security_model={options.security}"]


def measure(monitor, options, share, initramfs):
    shutil.rmtree(share / "tree", ignore_errors=True)
    subprocess.run(["cat", share / "large", share / "tree.tar"], stdout=subprocess.DEVNULL,
                   check=True)
    run = subprocess.run(command(monitor, options, share, initramfs), stdin=subprocess.DEVNULL,
                         capture_output=True, timeout=PATIENCE)
    text = run.stdout.decode(errors="replace")
    (WORK / f"{monitor}.log").write_text(text)
    if "@ done" not in text or "@ wrong" in text:
        sys.exit(f"{monitor} did not finish; see {WORK}/{monitor}.log\n"
                 + run.stderr.decode(errors="replace"))
    times = {name: float(end) - float(start)
             for name, start, end in re.findall(r"@ (\w+) ([\d.]+) ([\d.]+)", text)}
    times["read"] = FILE_BYTES / 1e6 / times["read"]
    return times


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--directories", type=int, default=100)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--options", default="msize=512000")
    parser.add_argument("--security", default="none")
    parser.add_argument("--guest", default=str(PROJECT / ".cache" / "guest-full"))
    parser.add_argument("--veneer", default=str(PROJECT / "build" / "veneer"))
    parser.add_argument("--engine", default="bt")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--out")
    options = parser.parse_args()
    monitors = ["veneer"] + ([] if options.no_qemu else ["qemu"])
    share = make_share(options.directories)
    init, initramfs = WORK / "init", WORK / "initramfs"
    init.write_text(INIT)
    subprocess.run([PROJECT / "guests" / "make-initramfs.sh", initramfs, "--guest", options.guest,
                    "--init", init, "--module", "9p", "--module", "9pnet_virtio",
                    "--module", "virtio_pci"], check=True)
    results = {monitor: {name: [] for name, _ in ROWS} for monitor in monitors}
    for _ in range(options.runs):
        for monitor in monitors:  # by turns, so that what disturbs one disturbs the others
            for name, value in measure(monitor, options, share, initramfs).items():
                results[monitor][name].append(value)
            print(monitor, {name: values[-1] for name, values in results[monitor].items()},
                  file=sys.stderr, flush=True)
    lines = ["| | " + " | ".join(monitors) + " | times as fast |",
             "|---|" + "---:|" * (len(monitors) + 1)]
    for name, title in ROWS:
        medians = [statistics.median(results[monitor][name]) for monitor in monitors]
        ratio = medians[0] / medians[-1] if name == "read" else medians[-1] / medians[0]
        cells = [f"{value:.0f}" if name == "read" else f"{value:.2f}" for value in medians]
        lines.append(f"| {title} | " + " | ".join(cells) + f" | {ratio:.1f} |")
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if options.out:
        pathlib.Path(options.out).write_text(text)


main()
