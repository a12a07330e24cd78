#!/usr/bin/env python3
"""Boot sectors of random code: each ends as the processor says (a triple fault, power off), or runs until
SIGTERM ends it; the monitor neither crashes nor takes memory without bound. Speaks TAP.

    random-sectors.py VENEER [COUNT [FIRST]]

Sector n is the same in each run; FIRST says which one to begin with (0). A few are random bytes; most are
random instructions that a boot sector has: BIOS calls, ports, jumps, loads of segments, loops, and a
change to protected mode now and then."""
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time

SECONDS = 0.4       # that a sector runs after firmware
PATIENCE = 10       # seconds from SIGTERM to the end
MOST_MEMORY = 700   # MiB, with 64 MiB for the guest
GOOD = {0: 'powered off', 6: 'triple fault', -signal.SIGTERM: 'stopped'}

BIOS = (0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a)
SPECIAL = (b'\xfa', b'\xfb', b'\xf4', b'\x9c', b'\x9d', b'\xcf', b'\x60', b'\x61', b'\x0f\x01\xe0', b'\x0f\x20\xc0\x0c\x01\x0f\x22\xc0',
           b'\x0f\x01\x16\x00\x7d', b'\x0f\x30', b'\x0f\x32', b'\x0f\xa2', b'\xf3\xa4', b'\xf3\xab', b'\xf3\x6c', b'\xf3\x6e')


def instruction(choose):
    kind = choose.randrange(12)
    byte = lambda: choose.randrange(256)
    if kind < 3:
        return bytes([0xb4, choose.choice((0, 1, 2, 3, 8, 14, 0x42, 0x43, byte())), 0xcd, choose.choice(BIOS)])
    if kind == 3:
        return bytes([choose.choice((0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf)), byte(), byte()])
    if kind == 4:
        return bytes([0xba, byte(), choose.choice((0, 1, 2, 3, 5, 6, 0xc)), choose.choice((0xec, 0xed, 0xee, 0xef, 0x6c, 0x6e))])
    if kind == 5:
        return bytes([choose.choice((0xe4, 0xe5, 0xe6, 0xe7)), byte()])
    if kind == 6:
        return bytes([choose.choice((0xeb, 0xe2, 0x74, 0x75, 0x72, 0xe3)), choose.randrange(256)])
    if kind == 7:
        return bytes([0x8e, 0xc0 | choose.randrange(8) << 3 | choose.randrange(8)])
    if kind == 8:
        return choose.choice(SPECIAL)
    if kind == 9:
        return bytes([0x66, byte(), byte(), byte(), byte(), byte()])
    return bytes(byte() for _ in range(choose.randrange(1, 5)))


def sector(number):
    choose = random.Random(number)
    code = b'' if number % 8 else choose.randbytes(510)
    while len(code) < 510:
        code += instruction(choose)
    return code[:510] + b'\x55\xaa'


def peak(pid):
    try:
        with open('/proc/%u/status' % pid) as file:
            return next(int(line.split()[1]) // 1024 for line in file if line.startswith('VmHWM'))
    except (OSError, StopIteration):
        return 0


def run(veneer, disk):
    """How it ended, and the most memory it had, in MiB."""
    monitor = subprocess.Popen([veneer, 'run', '--firmware', '/usr/share/seabios/bios-256k.bin', '--disk', disk,
                                '--memory', '64M'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    os.set_blocking(monitor.stdout.fileno(), False)
    output, end = b'', time.monotonic() + 60
    while b'Booting from' not in output and time.monotonic() < end and monitor.poll() is None:
        output += monitor.stdout.read() or b''
        time.sleep(0.01)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and monitor.poll() is None:
        monitor.stdout.read()
        time.sleep(0.02)
    memory = peak(monitor.pid)
    if monitor.poll() is None:
        monitor.terminate()
        try:
            monitor.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            monitor.kill()
            monitor.communicate()
            return 'SIGTERM did not end it', memory
    return GOOD.get(monitor.returncode, 'status %d' % monitor.returncode), memory


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not os.access('/usr/share/seabios/bios-256k.bin', os.R_OK):
        print('1..0 # SKIP there is no seabios')
        return 0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    bad, ends = [], {}
    with tempfile.TemporaryDirectory() as work:
        for number in range(first, first + count):
            disk = os.path.join(work, 'disk')
            with open(disk, 'wb') as file:
                file.write(sector(number).ljust(1 << 20, b'\0'))
            end, memory = run(sys.argv[1], disk)
            ends[end] = ends.get(end, 0) + 1
            if end not in GOOD.values() or memory > MOST_MEMORY:
                bad.append('sector %u: %s, %u MiB' % (number, end, memory))
    print('%s 1 - %u random boot sectors: %s' % (
        'not ok' if bad else 'ok', count, ', '.join('%u %s' % (n, end) for end, n in sorted(ends.items()))))
    for line in bad:
        print('# ' + line)
    print('1..1')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
