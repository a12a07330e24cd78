#!/usr/bin/env python3
"""Disks and a card come and go while a guest uses them, by QMP and by PCI Express hot plug.

    plug.py VENEER BUILD-DIR SOURCE-DIR ENGINE [ROUNDS]

Each of the rounds (default 5) plugs three disks and a card in, has the guest use them, and unplugs them with requests in
flight: in the first one as the user asks for it (device_del), in others as the guest lets go of them by itself. What the
guest does is in guest-plug-init.sh. GUEST in the environment is a directory that guests/fetch-debian.sh filled. Speaks TAP.
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

veneer, build, source, engine = sys.argv[1:5]
rounds = int(sys.argv[5]) if len(sys.argv) > 5 else 5
SECONDS = 60 * int(os.environ.get('TIMEOUT_SCALE', '1'))
MAC = '52:54:00:00:00:%02x'
DISK = 16 << 20
count = failures = 0


def result(good, name, note=''):
    global count, failures
    count += 1
    failures += not good
    print('%s %u - %s: %s' % ('ok' if good else 'not ok', count, engine, name))
    if not good:
        print('# ' + str(note).replace('\n', '\n# '))
    sys.stdout.flush()


class Qmp:
    """A client that keeps the events."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(SECONDS)
        self.socket.connect(path)
        self.file = self.socket.makefile('rw')
        self.events = []
        self.file.readline()
        self.ask('qmp_capabilities')

    def read(self):
        message = json.loads(self.file.readline())
        if 'event' in message:
            self.events.append(message)
        return message

    def ask(self, command, **arguments):
        """The reply's content; an error as an exception."""
        self.file.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.file.flush()
        while True:
            message = self.read()
            if 'error' in message:
                raise RuntimeError('%s: %s' % (command, message['error']['desc']))
            if 'return' in message:
                return message['return']

    def refuses(self, what, command, **arguments):
        try:
            self.ask(command, **arguments)
        except RuntimeError as error:
            if what in str(error):
                return
            raise
        raise RuntimeError('%s %s was not refused' % (command, arguments))

    def await_deleted(self, names):
        names = set(names)
        while True:
            gone = {event['data'].get('device') for event in self.events if event['event'] == 'DEVICE_DELETED'}
            if names <= gone:
                break
            self.read()
        self.events = []


class Guest:
    def __init__(self, work, arguments):
        guest = os.environ.get('GUEST', os.path.join(source, '.cache/guest'))
        initramfs = os.path.join(work, 'initramfs')
        subprocess.run([os.path.join(source, 'guests/make-initramfs.sh'), initramfs, '--init',
                        os.path.join(source, 'tests/virtio/guest-plug-init.sh'), '--file',
                        os.path.join(source, 'tests/boot/guest-check.sh') + ':check.sh', '--file',
                        os.path.join(source, 'tests/virtio/guest-complaints.sh') + ':complaints.sh', '--file',
                        os.path.join(build, 'tests/virtio/guest-disk') + ':bin/guest-disk', '--guest', guest,
                        '--module', 'virtio_pci', '--module', 'virtio_net', '--module', 'virtio_blk'], check=True)
        self.process = subprocess.Popen(
            [veneer, 'qemu', '-nodefaults', '-no-reboot', '-display', 'none', '-m', '256M', '-kernel',
             os.path.join(guest, 'vmlinuz'), '-initrd', initramfs, '-append', 'console=ttyS0 quiet panic=-1', '-serial',
             'stdio', *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = []
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = b''

    def await_line(self, name):
        """The guest has done what was asked."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            while b'\n' in self.text:
                line, self.text = self.text.split(b'\n', 1)
                line = line.decode(errors='replace').strip()
                self.lines.append(line)
                if line == 'done ' + name:
                    return
                if line.startswith('failed '):
                    raise RuntimeError(line)
            if self.process.poll() is not None:
                break
            self.text += self.process.stdout.read() or b''
            time.sleep(0.01)
        raise RuntimeError('no answer to %s; last lines: %s' % (name, self.lines[-5:]))

    def ask(self, command, *words):
        self.process.stdin.write((' '.join((command,) + words) + '\n').encode())
        self.process.stdin.flush()
        self.await_line(command)


def plug(qmp, guest, work, number):
    for disk in 'abc':
        name = disk + str(number)
        path = os.path.join(work, name)
        with open(path, 'wb') as file:
            file.truncate(DISK)
        qmp.ask('blockdev-add', **{'driver': 'file', 'node-name': 'file-' + name, 'filename': path})
        qmp.ask('blockdev-add', **{'driver': 'raw', 'node-name': 'node-' + name, 'file': 'file-' + name})
        qmp.ask('device_add', driver='virtio-blk-pci', id='disk-' + name, drive='node-' + name, serial=name,
                bus='port-' + disk)
    qmp.ask('netdev_add', type='user', id='net%u' % number, restrict=True)
    qmp.ask('device_add', driver='virtio-net-pci', id='card%u' % number, netdev='net%u' % number, mac=MAC % number,
            bus='port-d')
    for disk in 'abc':
        guest.ask('use_disk', disk + str(number))
    guest.ask('use_card', MAC % number)


def unplug(qmp, guest, work, number, asked):
    names = ['disk-%s%u' % (disk, number) for disk in 'abc'] + ['card%u' % number]
    if asked:
        for name in names:
            qmp.ask('device_del', id=name)
        qmp.refuses('already in the process', 'device_del', id=names[0])
        qmp.refuses('in use', 'blockdev-del', **{'node-name': 'node-a%u' % number})
    else:
        guest.ask('off', '11', '12', '13', '14')
    qmp.await_deleted(names)
    for disk in 'abc':
        guest.ask('lose_disk', disk + str(number))
        qmp.ask('blockdev-del', **{'node-name': 'node-%s%u' % (disk, number)})
        qmp.ask('blockdev-del', **{'node-name': 'file-%s%u' % (disk, number)})
        os.unlink(os.path.join(work, disk + str(number)))
    guest.ask('lose_card', MAC % number)
    qmp.ask('netdev_del', id='net%u' % number)


def refusals(qmp):
    qmp.refuses("no -drive or -blockdev 'nobody'", 'blockdev-del', **{'node-name': 'nobody'})
    qmp.refuses('not found', 'device_del', id='nobody')
    qmp.refuses('does not support hotunplugging', 'device_del', id='port-a')
    qmp.refuses('not a device', 'device_add', driver='frob')
    qmp.refuses('does not support hotplugging', 'device_add', driver='VGA')
    qmp.refuses('there is no -netdev', 'device_add', driver='virtio-net-pci', netdev='nobody')
    qmp.ask('netdev_add', type='user', id='spare')
    qmp.refuses('there is no bus', 'device_add', driver='virtio-net-pci', netdev='spare', bus='nowhere')
    qmp.refuses('does not support hotplugging', 'device_add', driver='e1000', netdev='spare')
    qmp.ask('netdev_del', id='spare')


def by_hand(qmp, guest, work):
    path = os.path.join(work, 'hand')
    with open(path, 'wb') as file:
        file.truncate(DISK)
    for line in ('drive_add 0 file=%s,if=none,readonly=on,serial=hand,id=drive-hand,format=raw' % path,
                 'device_add virtio-blk-pci,drive=drive-hand,id=hand'):
        said = qmp.ask('human-monitor-command', **{'command-line': line})
        if said.strip() not in ('', 'OK'):
            raise RuntimeError(said)
    guest.ask('await', 'disk_of', 'hand')
    blocks = qmp.ask('query-block')
    if len(blocks) != 1 or blocks[0]['device'] != 'drive-hand' or not blocks[0]['inserted']['ro']:
        raise RuntimeError('query-block says %s' % blocks)
    if 'hand' not in [node['name'] for node in qmp.ask('qom-list', path='/machine/peripheral')]:
        raise RuntimeError('the object model does not have it')


def main(work):
    control = os.path.join(work, 'qmp')
    arguments = ['-M', 'q35', '-accel', 'tcg' if engine == 'bt' else 'kvm', '-cpu', 'max', '-smp', '2', '-qmp',
                 'unix:%s,server=on,wait=off' % control]
    for number, port in enumerate('abcd'):
        arguments += ['-device', 'pcie-root-port,id=port-%s,chassis=%u,multifunction=on,addr=2.%u' %
                      (port, 11 + number, number)]
    guest = Guest(work, arguments)
    try:
        guest.await_line('boot')
        qmp = Qmp(control)
        refusals(qmp)
        result(True, 'what cannot be plugged in is refused')
        for number in range(1, rounds + 1):
            plug(qmp, guest, work, number)
            names = {block['inserted']['node-name'] for block in qmp.ask('query-block')}
            if names != {'node-%s%u' % (disk, number) for disk in 'abc'}:
                raise RuntimeError('query-block says %s' % names)
            unplug(qmp, guest, work, number, number == 1)
        result(True, '%u disks and %u cards come, are used, and go with requests in flight' % (3 * rounds, rounds))
        result(qmp.ask('query-block') == [], 'nothing is left of them')
        by_hand(qmp, guest, work)
        result(True, 'a disk comes by the human monitor, to any port')
        guest.ask('no_complaints')
        guest.process.stdin.write(b'end\n')
        guest.process.stdin.flush()
        result(guest.process.wait(SECONDS) == 0, 'the kernel has nothing to complain about, and powers off')
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as error:
        result(False, 'devices come and go', error)
    finally:
        if guest.process.poll() is None:
            guest.process.kill()
        guest.process.wait()


with tempfile.TemporaryDirectory() as directory:
    main(directory)
print('1..%u' % count)
sys.exit(failures > 0)
