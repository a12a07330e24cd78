#!/usr/bin/env python3
"""Network cards under Debian's own driver: with the host, and between two machines.

    network.py VENEER BUILD-DIR SOURCE-DIR ENGINE [--part user|switch|pauses]... [--cpus N] [--user-mib N] [--switch-mib N]

A guest exchanges data with this program through the user network, and two guests with each other through a
switch; sums tell whether it is what was sent. A guest with a disk, too, is paused while both are busy. What guests do is in guest-net-init.sh. GUEST in the environment
is a directory that guests/fetch-debian.sh filled. Speaks TAP.
"""
import argparse
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

PAUSES = 20
SMALL = 1 << 20
SECONDS = 120 * int(os.environ.get('TIMEOUT_SCALE', '1'))


def serve(handle):
    """The port where each connection is served by handle(connection)."""
    listener = socket.create_server(('127.0.0.1', 0))

    def serve_one(connection):
        with connection:
            try:
                handle(connection)
            except OSError:
                pass  # the guest has gone

    def run():
        while True:
            threading.Thread(target=serve_one, args=[listener.accept()[0]], daemon=True).start()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def send_forever(connection):
    data = bytes(1 << 16)
    while True:
        connection.sendall(data)


def drain(connection):
    while connection.recv(1 << 20):
        pass


class Control:
    """A client of the control socket that adds up how long the machine stood, by the machine's own account."""

    def __init__(self, path):
        self.stood = 0
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + SECONDS
        while self.socket.connect_ex(path):
            if time.monotonic() > end:
                raise TimeoutError('no control socket')
            time.sleep(0.05)
        self.socket.settimeout(SECONDS)
        self.file = self.socket.makefile('r')
        self.file.readline()
        self.execute('qmp_capabilities')

    def execute(self, command):
        self.socket.sendall(json.dumps({'execute': command}).encode())
        while True:
            said = json.loads(self.file.readline())
            if 'event' in said:
                stamp = said['timestamp']['seconds'] + said['timestamp']['microseconds'] / 1e6
                self.stood += {'STOP': -stamp, 'RESUME': stamp}.get(said['event'], 0)
            else:
                return said['return']


class Test:
    def __init__(self, words, work):
        self.words = words
        self.work = work
        self.count = self.failures = 0
        self.initramfs = os.path.join(work, 'initramfs')
        self.guest = os.environ.get('GUEST', os.path.join(words.source, '.cache/guest'))
        subprocess.run([os.path.join(words.source, 'guests/make-initramfs.sh'), self.initramfs, '--init',
                        os.path.join(words.source, 'tests/virtio/guest-net-init.sh'), '--file',
                        os.path.join(words.source, 'tests/boot/guest-check.sh') + ':check.sh', '--file',
                        os.path.join(words.source, 'tests/virtio/guest-complaints.sh') + ':complaints.sh', '--file',
                        os.path.join(words.build, 'tests/virtio/guest-disk') + ':bin/guest-disk', '--guest', self.guest,
                        '--module', 'virtio_pci', '--module', 'virtio_net', '--module', 'virtio_blk'], check=True)

    def result(self, good, name, note=''):
        self.count += 1
        self.failures += not good
        print('%s %u - %s, %u CPU: %s' % ('ok' if good else 'not ok', self.count, self.words.engine, self.words.cpus, name))
        if not good and note:
            print('# ' + note.strip().replace('\n', '\n# '))
        sys.stdout.flush()

    def boot(self, net, *options, **parameters):
        append = ' '.join(['console=ttyS0 quiet panic=-1'] + ['%s=%s' % item for item in parameters.items()])
        return subprocess.Popen(
            ['timeout', '-k', '5', str(SECONDS), self.words.veneer, 'run', '--kernel', os.path.join(self.guest, 'vmlinuz'),
             '--initrd', self.initramfs, '--engine', self.words.engine, '--cpus', str(self.words.cpus), '--memory',
             '640M', '--no-reboot', '--net', net, *options, '--append', append],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def judge(self, machine, who):
        out, errors = machine.communicate()
        lines = out.decode(errors='replace').replace('\r', '').split('\n')
        for line in lines:
            if line.startswith('check '):
                self.result(line.startswith('check ok '), '%s: %s' % (who, line.split(' ', 2)[2]))
        self.result('checks done' in lines and machine.returncode == 0 and not errors,
                    '%s: all checks ran, and it powers off' % who,
                    'status %d %s\n%s' % (machine.returncode, errors.decode(errors='replace'), '\n'.join(lines[-5:])))

    def user(self):
        block = random.Random(1).randbytes(1 << 20)
        mib = self.words.user_mib
        # No two of its MiB are the same.
        pieces = [number.to_bytes(8, 'little') + block[8:] for number in range(mib)]
        total = hashlib.md5(b''.join(pieces)).hexdigest()
        got = []

        def send_pieces(connection):
            for piece in pieces:
                connection.sendall(piece)

        def receive(connection):
            md5 = hashlib.md5()
            while data := connection.recv(1 << 20):
                md5.update(data)
            got.append(md5.hexdigest())

        self.judge(self.boot('user', part='user', address='10.0.2.15', mib=mib, sum=total,
                             download_port=serve(send_pieces), upload_port=serve(receive),
                             endless_port=serve(send_forever), sink_port=serve(drain),
                             small_port=serve(lambda connection: connection.sendall(block[:SMALL])),
                             small_sum=hashlib.md5(block[:SMALL]).hexdigest()), 'user network')
        self.result(got == [total], 'user network: the host has got what was sent')

    def switch(self):
        network = 'switch=' + os.path.join(self.work, 'switch')
        machines = [(part, self.boot(network, part=part, address=address, mib=self.words.switch_mib))
                    for part, address in (('first', '10.0.3.1'), ('second', '10.0.3.2'))]
        for part, machine in machines:
            self.judge(machine, 'switch, the %s' % part)

    def pauses(self):
        """Paused at random moments, the guest notices nothing: sums are right, and its clock has stood meanwhile."""
        disk, path = os.path.join(self.work, 'disk'), os.path.join(self.work, 'control')
        block = random.Random(2).randbytes(SMALL)
        began, ended = threading.Event(), threading.Event()
        stood = []

        def tell_time(connection):
            # In hundredths, as the guest counts them, without the time in which the machine stood.
            connection.sendall(b'%d\n' % ((time.monotonic() - (stood[-1] if stood else 0)) * 100))
            began.set()

        def receive(connection):
            md5 = hashlib.md5()
            while data := connection.recv(1 << 20):
                md5.update(data)
            got.append(md5.hexdigest())

        got = []
        with open(disk, 'wb') as file:
            file.truncate(16 << 20)
        machine = self.boot('user', '--disk', disk, '--control', path, part='pauses', address='10.0.2.15',
                            time_port=serve(tell_time),
                            more_port=serve(lambda connection: connection.sendall(b'no' if ended.is_set() else b'yes')),
                            small_port=serve(lambda connection: connection.sendall(block)),
                            small_sum=hashlib.md5(block).hexdigest(), upload_port=serve(receive))
        problem = ''
        try:
            control = Control(path)
            began.wait(SECONDS)
            for number in range(PAUSES):
                time.sleep(random.uniform(0.02, 0.3))
                control.execute('stop')
                # One is so long that a clock which runs on would be noticed.
                time.sleep(3 if number == 10 else random.choice([0, random.uniform(0, 0.2)]))
                control.execute('cont')
                stood.append(control.stood)
        except (OSError, KeyError, ValueError) as error:
            problem = '%s: %s' % (type(error).__name__, error)
        ended.set()
        self.result(not problem and len(stood) == PAUSES, 'pauses: the machine is paused %u times' % PAUSES, problem)
        self.judge(machine, 'pauses')
        self.result(got and set(got) == {hashlib.md5(block).hexdigest()}, 'pauses: the host has got what was sent',
                    '%u pieces' % len(got))

    def run(self):
        for part in self.words.part or ['user', 'switch', 'pauses']:
            getattr(self, part)()
        print('1..%u' % self.count)
        return self.failures != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('veneer')
    parser.add_argument('build')
    parser.add_argument('source')
    parser.add_argument('engine')
    parser.add_argument('--part', action='append', choices=['user', 'switch', 'pauses'])
    parser.add_argument('--cpus', type=int, default=2)
    parser.add_argument('--user-mib', type=int, default=200)
    parser.add_argument('--switch-mib', type=int, default=50)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        return Test(words, work).run()


if __name__ == '__main__':
    sys.exit(main())
