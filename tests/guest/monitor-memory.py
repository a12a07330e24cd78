#!/usr/bin/env python3
"""The guest kernel "wild" accesses the addresses at which the monitor itself has memory, and those from which an
engine that adds an offset might get there. The guest must fault on each as if there were nothing, and no byte of the
monitor's may come to hold what the guest wrote. Speaks TAP.

usage: monitor-memory.py VENEER BUILD-DIR [ENGINE [ADDRESSES]]
"""
import os
import random
import subprocess
import sys

POISON = bytes.fromhex('0df0fecaefbeadde') # what the guest stores, in memory's order
WORLDS = 3         # how often the kernel asks for addresses
SLOT = 1 << 39
WINDOW = 512 << 30
random.seed(1)


def mappings(pid):
    """(start, end, permissions, name) of all memory of a process."""
    result = []
    with open(f'/proc/{pid}/maps') as maps:
        for line in maps:
            fields = line.split(None, 5)
            start, end = (int(x, 16) for x in fields[0].split('-'))
            result.append((start, end, fields[1], fields[5].strip() if len(fields) > 5 else ''))
    return result


def is_guest_ram(mapping):
    return 'memfd' in mapping[3]


def targets(maps):
    """Host addresses worth hitting: the ends and some of the middle of what holds anything."""
    result = []
    for start, end, permissions, name in maps:
        if permissions.startswith('---') or is_guest_ram((start, end, permissions, name)):
            continue
        result += [start, end - 8, start + random.randrange((end - start) // 8) * 8]
    return result


def guest_addresses(maps, limit):
    """Of each target the address itself, and those that windows at reserved places would lead there."""
    hosts = targets(maps)
    random.shuffle(hosts)
    reserved = [start for start, end, permissions, _ in maps if permissions.startswith('---') and end - start >= WINDOW]
    slots = [0, 256 * SLOT | 0xffff << 48, 288 * SLOT | 0xffff << 48, 511 * SLOT | 0xffff << 48]
    result = list(hosts)
    for host in hosts:
        for window in random.sample(reserved, min(2, len(reserved))):
            # A guard may come before the window itself.
            base = window + random.choice([0, 64 << 30])
            result.append((host - base + random.choice(slots)) % (1 << 64))
    # What the guest kernel has mapped itself is no wild address.
    result = [a for a in result if a >= 0x50000000]
    keep = result[:limit // 2]
    rest = result[limit // 2:]
    random.shuffle(rest)
    return keep + rest[:limit - len(keep)]


def poisoned(pid, maps):
    """Where the monitor's own writable memory holds what the guest stores."""
    found = []
    with open(f'/proc/{pid}/mem', 'rb') as memory:
        for mapping in maps:
            start, end, permissions, name = mapping
            if permissions[1] != 'w' or is_guest_ram(mapping) or end - start > 256 << 20 or name.startswith('[v'):
                continue
            try:
                memory.seek(start)
                data = memory.read(end - start)
            except OSError:
                continue
            # The guest's registers are part of the monitor's memory: the caller looks only where the guest was sent.
            at = data.find(POISON)
            while at >= 0:
                found.append((start + at, name))
                at = data.find(POISON, at + 1)
    return found


def main():
    if not 3 <= len(sys.argv) <= 5:
        print(__doc__.strip().splitlines()[-1], file=sys.stderr)
        return 2
    veneer, build = sys.argv[1:3]
    engine = sys.argv[3] if len(sys.argv) > 3 else 'auto'
    limit = int(sys.argv[4]) if len(sys.argv) > 4 else 300
    guest = subprocess.Popen([veneer, 'run', '--kernel', f'{build}/guests/kernels/wild', '--append', 'cpus=1 host=1',
                              '--memory', '64M', '--engine', engine, '--debug-exit', '0xf4', '--no-reboot'],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    output, hit, sent = [], [], []
    rounds = 0
    for line in guest.stdout:
        line = line.decode('ascii', 'replace').strip()
        output.append(line)
        if line != 'READY':
            continue
        maps = mappings(guest.pid)
        if sent:
            places = poisoned(guest.pid, maps)
            hit += [f'{at:#x} {name}' for at, name in places if at in sent]
        addresses = guest_addresses(maps, limit)
        sent = set(targets(maps))
        guest.stdin.write(''.join(f'{a:x}\n' for a in addresses).encode() + b'\n')
        guest.stdin.flush()
        rounds += 1
    status = guest.wait(10)
    results = [
        (status == 1 and any(line.startswith('SUMMARY') and ' 0 failed' in line for line in output),
         'the guest faults at each of the monitor\'s addresses', [f'exit status {status}'] + output[-20:]),
        (rounds == WORLDS and not hit, 'no byte of the monitor\'s is what the guest wrote', hit[:20]),
    ]
    for number, (ok, name, notes) in enumerate(results, 1):
        print(f'{"ok" if ok else "not ok"} {number} - {name}')
        if not ok:
            for note in notes:
                print('#', note)
    print(f'1..{len(results)}')
    return 0 if all(ok for ok, _, _ in results) else 1


if __name__ == '__main__':
    sys.exit(main())
