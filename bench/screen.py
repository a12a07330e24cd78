#!/usr/bin/env python3
"""What the text screen costs a guest whose processes print without end; the table has the medians.

    bench/screen.py [VENEER [ROUNDS]]

A shell counts for three seconds alone, beside `yes >/dev/null`, and beside `yes >/dev/tty1`, by turns, in a
machine with one processor and Debian's kernel: with --display text on a terminal that reads all that comes,
and with --display none, where nobody looks. The first column is counts in thousands a second; the second
what is left of those alone. One processor for two processes is a half; `yes >/dev/tty1` must leave no less."""
import os
import statistics
import subprocess
import sys
import tempfile
import time

project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(project, 'tests', 'display'))
from screen import Terminal     # noqa: E402

SECONDS = 3
BESIDE = {'alone': '', 'yes >/dev/null': 'yes >/dev/null', 'yes >/dev/tty1': 'yes >/dev/tty1'}
INIT = '''#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
count()	# NAME COMMAND: counts beside the command
{
	[ -z "$2" ] || { sh -c "exec $2" & beside=$!; }
	sh -c 'trap "echo \\"\\$0 \\$i\\" >/dev/ttyS1; exit" TERM; i=0; while :; do i=$((i + 1)); done' "$1" & counter=$!
	sleep %(seconds)d
	kill $counter
	wait $counter
	[ -z "$2" ] || { kill $beside; wait $beside; }
}
sleep 2
for round in %(rounds)s; do
%(calls)s
done
sync
poweroff -f
'''


def initramfs(work, rounds):
    calls = '\n'.join("\tcount '%s' '%s'" % pair for pair in BESIDE.items())
    path = os.path.join(work, 'init')
    with open(path, 'w') as file:
        file.write(INIT % {'seconds': SECONDS, 'rounds': ' '.join(map(str, range(rounds))), 'calls': calls})
    os.chmod(path, 0o755)
    made = os.path.join(work, 'initramfs')
    subprocess.run([os.path.join(project, 'guests', 'make-initramfs.sh'), made, '--init', path], check=True)
    return made


def counts(command, results, rounds):
    """Runs the machine to its end; the counts of each thing that the shell counted beside."""
    terminal = Terminal(command)
    end = time.time() + 120 + 10 * SECONDS * rounds
    while terminal.process.poll() is None and time.time() < end:
        terminal.read(1)
    status = terminal.process.poll()
    terminal.close()
    found = {name: [] for name in BESIDE}
    with open(results, errors='replace') as file:
        for line in file:
            name, _, number = line.strip().rpartition(' ')
            if name in found and number.isdigit():
                found[name].append(int(number) / SECONDS)
    if status != 0 or any(len(numbers) != rounds for numbers in found.values()):
        sys.exit('the guest ended with %s and said %s' % (status, found))
    return {name: statistics.median(numbers) for name, numbers in found.items()}


def main():
    veneer = sys.argv[1] if len(sys.argv) > 1 else os.path.join(project, 'build', 'veneer')
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    kernel = subprocess.run([os.path.join(project, 'guests', 'fetch-debian.sh')], stdout=subprocess.PIPE, check=True,
                            text=True).stdout.split('\n')[0]
    with tempfile.TemporaryDirectory() as work:
        guest = initramfs(work, rounds)
        print('%-16s%24s%24s' % ('', '--display text', '--display none'))
        columns = []
        for display in ('text', 'none'):
            results = os.path.join(work, display)
            columns.append(counts([veneer, 'run', '--kernel', kernel, '--initrd', guest, '--cpus', '1',
                                   '--append', 'console=tty1 quiet panic=-1', '--display', display,
                                   '--serial2', results], results, rounds))
        for name in BESIDE:
            print('%-16s' % name + ''.join('%15.0fk/s%6.2f' % (column[name] / 1000, column[name] / column['alone'])
                                           for column in columns))


if __name__ == '__main__':
    main()
