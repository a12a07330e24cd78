#!/usr/bin/env python3
"""Boots an image like those that Debian offers for clouds: a GPT in compressed qcow2, GRUB's long menu, cloud-init.
It takes its user, key, name and commands from the seed of --cloud-init, grows with its disk, and keeps what it is
told when it boots again. On demand: making the image takes a few minutes. Speaks TAP.

    cloud.py VENEER CACHE-DIR [IMAGE]

The image is made in CACHE-DIR by make-cloud-image.sh, anew where that has changed; or is IMAGE, a real one perhaps,
whose NoCloud data source is on.
"""
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

here = os.path.dirname(os.path.abspath(__file__))
SCALE = float(os.environ.get('TIMEOUT_SCALE', '1'))
os.environ['PATH'] += ':/usr/sbin:/sbin'
USER_DATA = """#cloud-config
hostname: cloudy
users:
  - name: tester
    sudo: ALL=(ALL) NOPASSWD:ALL
    shell: /bin/bash
    ssh_authorized_keys:
      - %s
write_files:
  - path: /etc/written
    content: from the seed
runcmd:
  - [sh, -c, 'echo "ran once more" >>/var/lib/ran']
"""


def make_image(cache):
    maker = os.path.join(here, 'make-cloud-image.sh')
    with open(maker, 'rb') as file:
        version = hashlib.sha256(file.read()).hexdigest()[:16]
    image = os.path.join(cache, f'cloud-{version}.qcow2')
    if not os.path.exists(image):
        os.makedirs(cache, exist_ok=True)
        for name in os.listdir(cache):
            if name.startswith('cloud-'):
                os.unlink(os.path.join(cache, name))
        subprocess.run([maker, image], check=True, stdin=subprocess.DEVNULL)
    return image


class Machine:
    def __init__(self, veneer, disk, seed, key, log):
        with socket.socket() as sock:
            sock.bind(('127.0.0.1', 0))
            self.port = sock.getsockname()[1]
        self.key = key
        self.log = open(log, 'w+b')
        self.process = subprocess.Popen(
            [veneer, 'run', disk, '--cloud-init', seed, '--net', f'user,hostfwd=tcp:127.0.0.1:{self.port}-:22'],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors='replace')[-1500:]

    def ssh(self, command, seconds=120):
        done = subprocess.run(
            ['ssh', '-q', '-p', str(self.port), '-i', self.key, '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=10', '-o',
             'UserKnownHostsFile=/dev/null', '-o', 'StrictHostKeyChecking=no', 'tester@127.0.0.1', command],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=seconds * SCALE)
        return done.returncode, done.stdout.strip()

    def wait_for_ssh(self, seconds):
        end = time.monotonic() + seconds * SCALE
        while self.process.poll() is None and time.monotonic() < end:
            if self.ssh('true')[0] == 0:
                return True
            time.sleep(2)
        return False


class Test:
    def __init__(self):
        self.count = self.failures = 0

    def same(self, name, got, want):
        self.count += 1
        self.failures += got != want
        print(f"{'ok' if got == want else 'not ok'} {self.count} - {name}")
        if got != want:
            print('# ' + f'got {got!r}, expected {want!r}'.replace('\n', '\n# '))
        sys.stdout.flush()

    def boot(self, veneer, disk, work, times):
        with Machine(veneer, disk, os.path.join(work, 'seed'), os.path.join(work, 'key'),
                     os.path.join(work, 'log')) as machine:
            self.same('it comes up, and takes the key', machine.wait_for_ssh(300) or machine.said(), True)
            self.same('cloud-init is done', machine.ssh('cloud-init status --wait | tail -n 1', 300), (0, 'status: done'))
            self.same('its data source is the seed', machine.ssh('cloud-id; cloud-init query subplatform | cut -d " " -f 1'),
                      (0, 'nocloud\nconfig-disk'))
            self.same('the name', machine.ssh('uname -n'), (0, 'cloudy'))
            self.same('the file', machine.ssh('cat /etc/written'), (0, 'from the seed'))
            self.same('the commands ran at the first boot only', machine.ssh('cat /var/lib/ran'), (0, 'ran once more'))
            self.same('the file system has grown', machine.ssh(
                '[ $(df --output=size -k / | tail -n 1) -gt 2500000 ] && echo yes'), (0, 'yes'))
            self.same('no unit has failed', machine.ssh('systemctl --failed --plain --no-legend'), (0, ''))
            self.same('the boots', machine.ssh("journalctl --list-boots | grep -c '^ *-*[0-9]'"), (0, str(times)))
            machine.ssh('sudo systemctl poweroff')
            try:
                status = machine.process.wait(120 * SCALE)
            except subprocess.TimeoutExpired:
                status = machine.said()
            self.same('it powers off', status, 0)

    def run(self, veneer, image):
        with tempfile.TemporaryDirectory() as work:
            disk, key = os.path.join(work, 'disk.qcow2'), os.path.join(work, 'key')
            shutil.copyfile(image, disk)
            subprocess.run(['qemu-img', 'resize', '-q', disk, '3G'], check=True)
            subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key], check=True)
            os.mkdir(os.path.join(work, 'seed'))
            with open(key + '.pub') as public, open(os.path.join(work, 'seed/user-data'), 'w') as file:
                file.write(USER_DATA % public.read().strip())
            with open(os.path.join(work, 'seed/meta-data'), 'w') as file:
                file.write('instance-id: one\n')
            for times in (1, 2):
                self.boot(veneer, disk, work, times)
        print(f'1..{self.count}')
        return self.failures != 0


def main():
    veneer, cache = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    for program, package in (('qemu-img', 'qemu-utils'), ('sfdisk', 'fdisk'), ('mkfs.vfat', 'dosfstools'),
                             ('mmdebstrap', 'mmdebstrap'), ('ssh-keygen', 'openssh-client')):
        if not shutil.which(program):
            sys.exit(f'cloud.py: {program} is missing: install the package {package}')
    return Test().run(veneer, sys.argv[3] if len(sys.argv) > 3 else make_image(cache))


if __name__ == '__main__':
    sys.exit(main())
