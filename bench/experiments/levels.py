#!/usr/bin/env python3
"""The same reads at three levels of interface, in one guest: a disk's registers (IDE by PIO), a queue of requests
(virtio-blk), a file server (9p), and the system call (syscall_level.c).

usage: bench/experiments/levels.py [--veneer FILE] [--guest DIR] [--mib N] [--runs N]

The monitor is one that was built with -Dsyscall_level=true (default build-levels/veneer); the guest is what
guests/fetch-debian.sh --full has left. Throughput is that of the translator; instructions are counted by the
interpreter, in a run of its own over 8 MiB."""
import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
SIZES = (4096, 16384, 131072)
LEVELS = (("IDE, PIO", "/dev/sda", ""), ("virtio-blk", "/dev/vda", ""), ("9p", "/mnt/file", ""),
          ("system call", "/level3/file", "monitor"))

INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
for m in virtio_pci virtio_blk sd_mod ata_piix 9p 9pnet_virtio; do modprobe $m; done
mkdir -p /mnt
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000 share /mnt
n=0; while [ ! -e /dev/sda ] && [ $n -lt 600 ]; do sleep 0.1; n=$((n + 1)); done
read_all() {
	for size in 4096 16384 131072; do
		echo 3 >/proc/sys/vm/drop_caches
		echo "= $1"; levels $2 $size $mib $3
	done
}
read_all ide /dev/sda
read_all virtio /dev/vda
read_all 9p /mnt/file
read_all call /level3/file monitor
echo "@ done"
poweroff -f
"""


def run(options, engine, mib, work):
    environment = dict(os.environ, VENEER_SYSCALL_DIRECTORY=str(work / "share"))
    disk = work / "share" / "file"
    command = [options.veneer, "run", "--engine", engine, "--kernel", f"{options.guest}/vmlinuz",
               "--initrd", work / "initramfs", "--memory", "512M",
               "--append", f"console=ttyS0 quiet panic=-1 no_timer_check libata.dma=0 mib={mib}",
               "--disk", f"{disk},bus=ide,readonly,share=on,format=raw",
               "--disk", f"{disk},readonly,share=on,format=raw", "--share", work / "share"]
    text = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=environment,
                          timeout=1500)
    out = text.stdout.decode(errors="replace")
    if "@ done" not in out:
        sys.exit(out[-3000:] + text.stderr.decode(errors="replace"))
    return [(float(mib_read), float(seconds), int(count), total) for mib_read, seconds, count, total in
            re.findall(r"@ \d+ ([\d.]+) ([\d.]+) (\d+) (\w+)", out)]


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--veneer", default=PROJECT / "build-levels" / "veneer")
    parser.add_argument("--guest", default=PROJECT / ".cache" / "guest-full")
    parser.add_argument("--mib", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        (work / "share").mkdir()
        with open(work / "share" / "file", "wb") as file:
            for _ in range(options.mib):
                file.write(bytes(range(256)) * 4096)
        (work / "init").write_text(INIT)
        subprocess.run(["gcc", "-O2", "-static", "-o", work / "levels", HERE / "levels.c"], check=True)
        modules = "virtio_pci virtio_blk sd_mod ata_piix 9p 9pnet_virtio".split()
        subprocess.run([PROJECT / "guests" / "make-initramfs.sh", work / "initramfs", "--guest", options.guest,
                        "--init", work / "init", "--file", f"{work}/levels:bin/levels",
                        *(word for m in modules for word in ("--module", m))], check=True)
        speeds = [run(options, "bt", options.mib, work) for _ in range(options.runs)]
        counts = run(options, "interp", min(8, options.mib), work)
    if any(len({row[3] for row in speeds[0][j::len(SIZES)]}) != 1 for j in range(len(SIZES))):
        sys.exit("what was read differs")
    print("| | " + " | ".join(f"{size >> 10} KiB, MiB/s | instructions a MiB" for size in SIZES) + " |")
    print("|---|" + "---:|" * (2 * len(SIZES)))
    for i, (title, _, _) in enumerate(LEVELS):
        cells = []
        for j in range(len(SIZES)):
            n = i * len(SIZES) + j
            cells.append(f"{statistics.median(rows[n][0] / rows[n][1] for rows in speeds):.0f}")
            cells.append(f"{counts[n][2] / counts[n][0]:,.0f}")
        print(f"| {title} | " + " | ".join(cells) + " |")


main()
