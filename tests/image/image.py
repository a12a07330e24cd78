#!/usr/bin/env python3
"""Checks 'veneer image' and 'veneer run DISK' with a whole Debian: it boots to a login, installs a package,
is reached by ssh, grows with its disk and shuts down; what it leaves is a clean file system. And disks with
partitions: kernels are found as a boot loader would find them. Speaks TAP.

    image.py VENEER CACHE-DIR

The image is made once, in CACHE-DIR, and each machine runs on a copy.
"""
import hashlib
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zlib

veneer, cache = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
work = tempfile.TemporaryDirectory()
SCALE = float(os.environ.get('TIMEOUT_SCALE', '1'))
os.environ['PATH'] += ':/usr/sbin:/sbin'
count = failures = 0


def result(passed, name, note=''):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {count} - {name}")
    if not passed:
        print('# ' + str(note).replace('\n', '\n# '))
    sys.stdout.flush()


def check(name):
    """A test is a function that returns nothing, and fails by an exception."""
    def run(test):
        try:
            test()
            result(True, name)
        except Exception as error:  # whatever it is, the next test is worth running
            result(False, name, f'{type(error).__name__}: {error}')
    return run


def same(got, want):
    if got != want:
        raise AssertionError(f'got {got!r}, expected {want!r}')


def path(name):
    return os.path.join(work.name, name)


def free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


class Machine:
    """A machine whose console is talked to. Ends with the `with` statement."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([veneer, 'run', *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ''

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def expect(self, pattern, seconds):
        """Read up to a match; what was read, with it."""
        end = time.monotonic() + seconds * SCALE
        while not (match := re.search(pattern, self.text)):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise AssertionError(f'no {pattern!r} within {seconds} s: {self.text[-1500:]}')
            piece = os.read(self.process.stdout.fileno(), 65536)
            if not piece:
                raise AssertionError(f'it ended before {pattern!r}: {self.text[-1500:]}')
            self.text += piece.decode(errors='replace')
        text, self.text = self.text[:match.end()], self.text[match.end():]
        return text

    def send(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def login(self):
        self.expect('login: ', 90)
        self.send('root')
        self.expect('root@debian:~# ', 40)
        # No echo, no prompt and no control sequences from here on.
        self.send("stty -echo; bind 'set enable-bracketed-paste off'; PS1=; echo started''.")
        self.expect(r'started\.\r?\n', 20)

    def run(self, command, seconds=30):
        """A command's output; it must succeed."""
        self.send(f"{command}; echo 'status'=$?.")
        text = self.expect(r'status=\d+\.\r?\n', seconds)
        text, status = re.fullmatch(r'(?s)(.*)status=(\d+)\.\r?\n', text).groups()
        if status != '0':
            raise AssertionError(f'{command}: status {status}: {text}')
        return text.replace('\r', '').strip()

    def end(self, seconds=60):
        """It shuts down by itself, and says that all is well."""
        self.expect('Power down', seconds)
        same(self.process.wait(seconds * SCALE), 0)


def make_image():
    """Made anew where the script that makes it has changed."""
    maker = os.path.join(os.path.dirname(veneer), 'veneer-make-image')
    with open(maker, 'rb') as file:
        version = hashlib.sha256(file.read()).hexdigest()[:16]
    image, key = os.path.join(cache, f'debian-{version}.img'), os.path.join(cache, 'key')
    os.makedirs(cache, exist_ok=True)
    if not os.path.exists(key):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], check=True)
    if not os.path.exists(image):
        for name in os.listdir(cache):
            if name.startswith('debian-'):
                os.unlink(os.path.join(cache, name))
        subprocess.run([veneer, 'image', image, '--size', '2G', '--ssh-key', key + '.pub'], check=True,
                       stdin=subprocess.DEVNULL)
    return image, key


def copy(image, name):
    subprocess.run(['cp', '--sparse=always', image, path(name)], check=True)
    return path(name)


def check_file_system(disk):
    done = subprocess.run(['e2fsck', '-fn', disk], capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f'e2fsck: {done.stdout}')


def make_repository(directory):
    """A package repository of one package, which apt may trust."""
    root = os.path.join(directory, 'root')
    os.makedirs(os.path.join(root, 'DEBIAN'))
    os.makedirs(os.path.join(root, 'usr/bin'))
    with open(os.path.join(root, 'DEBIAN/control'), 'w') as file:
        file.write('Package: veneer-probe\nVersion: 1.0\nArchitecture: all\n'
                   'Maintainer: nobody <nobody@example.org>\nDescription: says that it is there\n')
    with open(os.path.join(root, 'usr/bin/veneer-probe'), 'w') as file:
        file.write('#!/bin/sh\necho the probe is there\n')
    os.chmod(os.path.join(root, 'usr/bin/veneer-probe'), 0o755)
    package = os.path.join(directory, 'veneer-probe_1.0_all.deb')
    subprocess.run(['dpkg-deb', '--root-owner-group', '-b', root, package], check=True,
                   stdout=subprocess.DEVNULL)
    with open(package, 'rb') as file:
        data = file.read()
    with open(os.path.join(root, 'DEBIAN/control')) as control, \
            open(os.path.join(directory, 'Packages'), 'w') as file:
        file.write(control.read() + f'Filename: ./veneer-probe_1.0_all.deb\nSize: {len(data)}\n'
                   f'SHA256: {hashlib.sha256(data).hexdigest()}\n')


image, key = make_image()


@check('boots to a login; a package from a repository on the host; ssh; the file system has grown; clean shutdown')
def _():
    disk, port = copy(image, 'full.img'), free_port()
    os.truncate(disk, 3 << 30)
    make_repository(path('repository'))
    server = subprocess.Popen([sys.executable, '-m', 'http.server', '0', '--bind', '127.0.0.1'],
                              cwd=path('repository'), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env={**os.environ, 'PYTHONUNBUFFERED': '1'})
    repository = re.search(rb'port (\d+)', server.stdout.readline()).group(1).decode()
    try:
        with Machine(disk, '--net', f'user,hostfwd=tcp:127.0.0.1:{port}-:22') as machine:
            machine.login()
            size = int(machine.run("df --output=size -k / | tail -n 1"))
            if size < 2.7 * (1 << 20):
                raise AssertionError(f'the file system has {size} KiB')
            same(machine.run('systemctl is-system-running --wait', 60), 'running')
            machine.run("rm /etc/apt/sources.list; echo 'deb [trusted=yes] http://10.0.2.2:"
                        f"{repository}/ ./' >/etc/apt/sources.list.d/probe.list")
            machine.run('apt-get -q update && apt-get -q -y install veneer-probe', 120)
            same(machine.run('veneer-probe'), 'the probe is there')
            ssh = subprocess.run(
                ['ssh', '-q', '-p', str(port), '-i', key, '-o', 'BatchMode=yes', '-o', 'UserKnownHostsFile=/dev/null',
                 '-o', 'StrictHostKeyChecking=no', 'root@127.0.0.1', 'uname -n; systemctl poweroff'],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60 * SCALE)
            same(ssh.stdout, 'debian\n')
            machine.end()
    finally:
        server.kill()
        server.communicate()
    check_file_system(disk)


@check('a seed for cloud-init: a disk with a label and the files; a credential; snapshot leaves the disk as it was')
def _():
    disk = copy(image, 'seed.img')
    os.mkdir(path('seed'))
    for name, text in (('user-data', '#cloud-config\n' + 'x' * 5000), ('network-config', 'version: 2\n')):
        with open(os.path.join(path('seed'), name), 'w') as file:
            file.write(text)
    with Machine(disk + ',snapshot', '--cloud-init', path('seed'), '--net', 'none',
                 '--credential', 'probe=a secret', '--smbios', 'type=1,serial=S1') as machine:
        machine.login()
        machine.run('udevadm settle; mount /dev/disk/by-label/cidata /mnt')
        same(machine.run('ls /mnt'), 'meta-data  network-config  user-data')
        same(machine.run("cat /mnt/user-data | sha256sum | cut -c 1-64"),
             hashlib.sha256(b'#cloud-config\n' + b'x' * 5000).hexdigest())
        same(machine.run('cat /mnt/network-config /mnt/meta-data').split('\n'), ['version: 2', 'instance-id: veneer'])
        same(machine.run('cat /sys/class/dmi/id/product_serial'), 'S1')
        same(machine.run('systemd-creds --system cat probe'), 'a secret')
        machine.run('umount /mnt; echo x >/root/x; sync')
        machine.send('poweroff')
        machine.end()
    with open(disk, 'rb') as file, open(image, 'rb') as original:
        while piece := file.read(1 << 20):
            if piece != original.read(1 << 20):
                raise AssertionError('the disk has changed')


@check('the same disk as qcow2: its kernel is found, it boots, and keeps what is written')
def _():
    if not shutil.which('qemu-img'):
        print('# no qemu-img')
        return
    disk = path('disk.qcow2')
    subprocess.run(['qemu-img', 'convert', '-O', 'qcow2', image, disk], check=True)
    for turn in range(2):
        with Machine(disk + ',format=qcow2', '--net', 'none') as machine:
            machine.login()
            if turn == 0:
                machine.run('echo kept >/root/x')
            else:
                same(machine.run('cat /root/x'), 'kept')
            machine.send('poweroff')
            machine.end()
    os.remove(disk)


# --- disks with partitions; what is on them is looked at, not booted ---

def file_system(name, files, size='16M', label='x'):
    """The bytes of an ext4 file system with these files."""
    root = path(name)
    for file, text in files.items():
        os.makedirs(os.path.dirname(os.path.join(root, file)), exist_ok=True)
        if isinstance(text, tuple):
            os.symlink(text[0], os.path.join(root, file))
        else:
            with open(os.path.join(root, file), 'w') as out:
                out.write(text)
    subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-U', '01234567-89ab-cdef-0123-456789abcdef', '-d', root,
                    root + '.ext4', size], check=True, stdout=subprocess.DEVNULL)
    with open(root + '.ext4', 'rb') as file:
        return file.read()


def mbr(*entries):
    table = b''.join(struct.pack('<4xB3xII', *entry) for entry in entries)
    return (bytes(446) + table).ljust(510, b'\0') + b'\x55\xaa'


def gpt_disk(*parts):
    """A disk with a GPT, which begins with an EFI system partition without a file system."""
    parts = (bytes(1 << 20),) + parts
    at, entries, data = 2048, b'', b''
    for number, part in enumerate(parts):
        entries += struct.pack('<16s16sQQQ72x', b'type' * 4, bytes([number + 1] * 16), at,
                               at + len(part) // 512 - 1, 0)
        at += len(part) // 512
        data += part
    entries = entries.ljust(128 * 128, b'\0')
    header = struct.pack('<8sIIIIQQQQ16sQIII', b'EFI PART', 0x10000, 92, 0, 0, 1, at, 34, at - 1, b'disk' * 4, 2,
                         128, 128, zlib.crc32(entries))
    header = header[:16] + struct.pack('<I', zlib.crc32(header)) + header[20:]
    return (mbr((0xee, 1, at - 1)) + header.ljust(512, b'\0') + entries).ljust(2048 * 512, b'\0') + data + bytes(34 * 512)


def mbr_disk(part):
    """A disk whose partition is inside an extended one."""
    return (mbr((0x05, 64, len(part) // 512 + 64)).ljust(64 * 512, b'\0') +
            mbr((0x83, 64, len(part) // 512)).ljust(64 * 512, b'\0') + part)


def found(data):
    """What the helper reads out of a disk: kernel, initrd, command line; or its message."""
    helper = os.path.join(os.path.dirname(veneer), 'veneer-disk-boot')
    with open(path('disk'), 'wb') as file:
        file.write(data)
    for name in ('kernel', 'initrd', 'cmdline'):
        open(path(name), 'wb').close()
    done = subprocess.run(['sh', '-c', 'exec "$0" 3<disk 4>kernel 5>initrd 6>cmdline', helper], cwd=work.name,
                          capture_output=True, text=True, timeout=60)
    if done.returncode:
        return done.stderr
    return tuple(open(path(name)).read() for name in ('kernel', 'initrd', 'cmdline'))


GRUB = """set default="0"
menuentry 'Debian' --class debian $menuentry_id_option 'gnulinux-simple' {
	linux	%s/vmlinuz-6.1.0-9 root=PARTUUID=x ro console=ttyS0 $more
	initrd	%s/initrd.img-6.1.0-9
}
"""
KERNELS = {'vmlinuz-6.1.0-9': 'nine', 'initrd.img-6.1.0-9': 'NINE', 'vmlinuz-6.1.0-10': 'ten',
           'initrd.img-6.1.0-10': 'TEN', 'vmlinuz-6.1.0-11.old': 'eleven'}
ROOT = {'etc/fstab': '', 'usr/bin/true': ''}
UUID = 'root=UUID=01234567-89ab-cdef-0123-456789abcdef'


def in_boot(files):
    return {'boot/' + name: text for name, text in files.items()}


@check('GPT, GRUB in the root partition: the menu says what is started')
def _():
    same(found(gpt_disk(file_system('a', ROOT | in_boot(KERNELS | {'grub/grub.cfg': GRUB % ('/boot', '/boot')})))),
         ('nine', 'NINE', 'root=PARTUUID=x ro console=ttyS0'))


@check('MBR, a /boot partition of its own, another root partition: the menu likewise')
def _():
    same(found(mbr_disk(file_system('b', KERNELS | {'grub/grub.cfg': GRUB % ('', '')}))),
         ('nine', 'NINE', 'root=PARTUUID=x ro console=ttyS0'))


@check('no GRUB: the newest kernel, and the root partition by its UUID; /etc/kernel/cmdline')
def _():
    same(found(file_system('c', ROOT | in_boot(KERNELS))), ('ten', 'TEN', 'ro ' + UUID))
    same(found(gpt_disk(file_system('d', ROOT | in_boot(KERNELS) | {'etc/kernel/cmdline': 'root=/dev/x quiet\n'}))),
         ('ten', 'TEN', 'root=/dev/x quiet'))


@check('links /vmlinuz and /initrd.img; a link out of the file system is none')
def _():
    files = ROOT | {'usr/k': 'kernel', 'usr/i': 'initrd'}
    same(found(file_system('e', files | {'vmlinuz': ('usr/k',), 'initrd.img': ('/usr/i',)})),
         ('kernel', 'initrd', 'ro ' + UUID))
    if 'no kernel' not in found(file_system('f', {'vmlinuz': ('../../../../../../etc/passwd',)})):
        raise AssertionError('a kernel was found')


@check('no file system; no table; damaged ones: a message, and nothing worse')
def _():
    if 'no ext4 file system' not in found(bytes(1 << 20)):
        raise AssertionError('zeros')
    if 'none of the' not in found(gpt_disk(bytes(1 << 20))):
        raise AssertionError('empty partitions')
    good = file_system('g', ROOT | in_boot(KERNELS))
    for step in range(64):
        # Bytes of the superblock, the group descriptors, inodes and directories in turn.
        bad = bytearray(good)
        for byte in range(24):
            bad[(1024 + step * 1237 + byte * 61) % (1 << 20)] ^= 1 << step % 8
        answer = found(bytes(bad))
        if isinstance(answer, str) and not answer:
            raise AssertionError(f'step {step}: it failed without a message')


print(f'1..{count}')
sys.exit(failures != 0)
