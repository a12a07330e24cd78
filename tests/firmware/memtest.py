#!/usr/bin/env python3
"""Debian's memtest86+ from a floppy, in its 32-bit and in its 64-bit program: what it says on the screen,
its menu, which a key opens, and the reset, which a key makes. Speaks TAP.

    memtest.py VENEER"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'display'))
from screen import Terminal     # noqa: E402

FIRMWARE = '/usr/share/seabios/bios-256k.bin'
PROGRAMS = {'ia32': '.x32', 'x64': '.x64'}  # what each puts after its version
FLOPPY = 1440 << 10
ESCAPE, F1, F10 = b'\033', b'\033OP', b'\033[21~'


def try_program(veneer, program, sign, floppy):
    """What is missing, or an empty text."""
    with open('/boot/memtest86+%s.bin' % program, 'rb') as file, open(floppy, 'wb') as image:
        image.write(file.read().ljust(FLOPPY, b'\0'))
    terminal = Terminal([veneer, 'run', '--firmware', FIRMWARE, '--floppy', floppy, '--memory', '64M', '--cpus', '2',
                         '--display', 'text', '--no-reboot'])

    def says(*words):
        return terminal.until(lambda: all(word in terminal.text() for word in words), 60)

    try:
        if not says('Memtest86+ v', sign, '2 Cores', 'Status: Testing', 'Errors: 0'):
            return 'no test runs:\n' + terminal.text()
        terminal.send(F1)
        if not says('Settings:', 'Test selection'):
            return 'F1 opens no menu:\n' + terminal.text()
        terminal.send(F10)
        if not terminal.until(lambda: 'Settings:' not in terminal.text(), 30):
            return 'the menu stays:\n' + terminal.text()
        terminal.send(ESCAPE)
        if terminal.process.wait(30):
            return 'exit status %d' % terminal.process.returncode
    except subprocess.TimeoutExpired:
        return 'no reset:\n' + terminal.text()
    finally:
        terminal.close()
    return ''


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    needed = [FIRMWARE] + ['/boot/memtest86+%s.bin' % program for program in PROGRAMS]
    for path in needed:
        if not os.access(path, os.R_OK):
            print('1..0 # SKIP there is no ' + path)
            return 0
    failures = 0
    with tempfile.TemporaryDirectory() as work:
        for number, (program, sign) in enumerate(PROGRAMS.items(), 1):
            missing = try_program(sys.argv[1], program, sign, os.path.join(work, 'floppy'))
            failures += bool(missing)
            print('%s %d - memtest86+ %s tests, opens its menu, and resets' %
                  ('not ok' if missing else 'ok', number, program))
            if missing:
                print('# ' + missing.replace('\n', '\n# '))
    print('1..%d' % len(PROGRAMS))
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main())
