#!/usr/bin/env python3
"""How long firmware takes, beside QEMU's TCG, in one run, by turns; the table has the medians.

    bench/firmware.py [VENEER [RUNS]]

sector: from the process's start to the first instruction of a boot sector on a virtio disk, which ends the
machine. grub: to the first message of Debian's cloud kernel, which GRUB starts from such a disk. i386: to the
first program of an initramfs, by Debian's i386 kernel, started directly. Both machines have 512 MiB, one
processor, Debian's SeaBIOS and no screen."""
import os
import statistics
import subprocess
import sys
import tempfile
import time

project = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEABIOS = '/usr/share/seabios/bios-256k.bin'
EXIT = bytes.fromhex('b010e6f4f4ebfd')  # mov $0x10, %al; out %al, $0xf4; hlt
MESSAGE = b'Linux version'
INIT = '#!/bin/sh\necho user space\npoweroff -f\n'


def seconds(command, message=None):
    start = time.monotonic()
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    said = b''
    while more := machine.stdout.read1(65536):
        said += more
        if message and message in said:
            break
    end = time.monotonic()
    machine.kill()
    machine.wait()
    if message and message not in said:
        sys.exit('%s did not say %s' % (command[0], message.decode()))
    return end - start


def main():
    veneer = sys.argv[1] if len(sys.argv) > 1 else os.path.join(project, 'build', 'veneer')
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    kernel = subprocess.run([os.path.join(project, 'guests', 'fetch-debian.sh')], stdout=subprocess.PIPE, check=True,
                            text=True).stdout.split('\n')[0]
    with tempfile.TemporaryDirectory() as work:
        sector, grub = os.path.join(work, 'sector'), os.path.join(work, 'grub')
        with open(sector, 'wb') as file:
            file.write(EXIT.ljust(510, b'\0') + b'\x55\xaa' + bytes(1 << 20))
        subprocess.run([os.path.join(project, 'tests', 'firmware', 'make-grub-disk.sh'), grub, kernel,
                        'console=ttyS0 earlyprintk=ttyS0 panic=-1'], check=True)
        ours = [veneer, 'run', '--firmware', SEABIOS, '--memory', '512M', '--cpus', '1', '--debug-exit', '0xf4', '--disk']
        qemu = ['qemu-system-x86_64', '-accel', 'tcg', '-M', 'q35', '-nodefaults', '-display', 'none', '-m', '512',
                '-no-reboot', '-serial', 'stdio', '-bios', SEABIOS, '-device', 'isa-debug-exit,iobase=0xf4', '-drive']
        tasks = {
            'sector': (ours + [sector + ',bus=virtio'], qemu + ['file=%s,format=raw,if=virtio' % sector], None),
            'grub': (ours + [grub + ',snapshot,bus=virtio'], qemu + ['file=%s,format=raw,if=virtio,snapshot=on' % grub], MESSAGE),
        }
        i386 = os.path.join(project, '.cache', 'guest-i386')
        subprocess.run([os.path.join(project, 'guests', 'fetch-debian.sh'), '--i386'], stdout=subprocess.DEVNULL, check=True)
        init, initrd = os.path.join(work, 'init'), os.path.join(work, 'initrd')
        with open(init, 'w') as file:
            file.write(INIT)
        subprocess.run([os.path.join(project, 'guests', 'make-initramfs.sh'), initrd, '--guest', i386, '--init', init], check=True)
        words = 'console=ttyS0 quiet panic=-1'
        tasks['i386'] = ([veneer, 'run', '--memory', '512M', '--cpus', '1', '--kernel', i386 + '/vmlinuz', '--initrd', initrd,
                          '--append', words],
                         ['qemu-system-x86_64', '-accel', 'tcg', '-M', 'q35', '-nodefaults', '-display', 'none', '-m', '512',
                          '-no-reboot', '-serial', 'stdio', '-kernel', i386 + '/vmlinuz', '-initrd', initrd, '-append', words],
                         b'user space')
        print('%-8s%10s%10s%8s' % ('', 'veneer', 'QEMU', 'ratio'))
        for name, (a, b, message) in tasks.items():
            times = [(seconds(a, message), seconds(b, message)) for _ in range(runs)]
            x, y = (statistics.median(column) for column in zip(*times))
            print('%-8s%9.3fs%9.3fs%8.2f' % (name, x, y, x / y))


main()
