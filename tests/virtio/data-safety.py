#!/usr/bin/env python3
"""What a guest was told is durable survives: the machine and its disk are killed at random moments.

    data-safety.py VENEER BUILD-DIR SOURCE-DIR ENGINE [--rounds N] [--fs FS]... [--seed N] [--cpus N]

The disk is nbd-dropper, which loses what was not flushed when it is killed. In each round a guest mounts
it, looks whether all is there that earlier rounds reported as durable, and writes (guest-safety.c) until
both are killed with SIGKILL. Then the host's fsck looks at the file system. After some rounds a guest
unmounts it, and a new one is made. Speaks TAP: a test for each round.

At the end the test is tested: where nbd-dropper lies about flushes, something must be missing. And a
machine ends in time though its disk's server is gone, or stuck, or the host's kernel is (stuck-host.c).
"""
import argparse
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STREAMS = 6
ROUNDS_OF_ONE = 4  # at most, before a new file system is made
SIZE = 256 << 20
BOOT_SECONDS = 60
END_SECONDS = 4
SCALE = int(os.environ.get('TIMEOUT_SCALE', '1'))
FILESYSTEMS = {
    'ext4': ['mke2fs', '-q', '-t', 'ext4', '-F'],
    'btrfs': ['mkfs.btrfs', '-q', '-f'],
}


def run(command):
    """0, or what the command said."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return '' if result.returncode == 0 else 'exit status %d: %s' % (
        result.returncode, result.stdout.decode(errors='replace')[-1000:])


class Guest:
    """A machine and its disk's server; with `stuck_by`, a disk that is a file, and the flag that stops the host."""

    def __init__(self, test, mode, *options, stuck_by=None):
        self.lines = []
        self.partial = b''
        self.socket = os.path.join(test.work, 'socket')
        self.control = os.path.join(test.work, 'control')
        self.server = subprocess.Popen(
            [os.path.join(test.here, 'nbd-dropper'), test.medium, self.socket, *options], stdout=subprocess.PIPE)
        self.server.stdout.readline()
        self.errors = open(os.path.join(test.work, 'errors'), 'w+b')
        disk = test.medium + ',io=threads' if stuck_by else 'nbd+unix:///?socket=' + self.socket
        host = [os.path.join(test.words.build, 'tests/virtio/stuck-host'), stuck_by] if stuck_by else []
        self.screen = os.path.join(test.work, 'screen')
        display = ['--display', 'vnc=' + self.screen] if stuck_by else []
        self.machine = subprocess.Popen(
            host + [test.words.veneer, 'run', '--kernel', os.path.join(test.words.source, '.cache/guest/vmlinuz'),
             '--initrd', test.initramfs, '--engine', test.words.engine, '--cpus', str(test.words.cpus), '--memory',
             '256M', '--no-reboot', '--disk', disk, *display, '--control', self.control, '--append',
             'console=ttyS0 quiet panic=-1 fs=%s streams=%u mode=%s' % (test.fs, STREAMS, mode)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors)

    def read(self, end):
        """More complete lines, or none by that time. False: the machine has ended."""
        ready, _, _ = select.select([self.machine.stdout], [], [], max(0, end - time.monotonic()))
        if not ready:
            return True
        data = os.read(self.machine.stdout.fileno(), 65536)
        *lines, self.partial = (self.partial + data).split(b'\n')
        self.lines += [line.decode(errors='replace').rstrip('\r') for line in lines]
        return bool(data)

    def wait_for(self, line, seconds):
        end = time.monotonic() + seconds
        while line not in self.lines:
            if not self.read(end) or time.monotonic() > end:
                return line in self.lines
        return True

    def read_for(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.read(end):
            pass

    def kill(self, order):
        for process in (self.server, self.machine)[::order]:
            process.kill()
        while self.read(time.monotonic() + 10):
            pass
        self.end()

    def end(self):
        """The machine's exit status."""
        self.machine.stdout.close()
        status = self.machine.wait()
        self.server.kill()
        self.server.wait()
        self.server.stdout.close()
        return status

    def said(self):
        self.errors.seek(0)
        return ' | '.join(self.lines[-5:]) + ' ' + self.errors.read().decode(errors='replace')[-500:]


class Test:
    def __init__(self, words, work):
        self.words = words
        self.work = work
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.random = random.Random(words.seed)
        self.medium = os.path.join(work, 'medium')
        self.initramfs = os.path.join(work, 'initramfs')
        self.number = self.failures = 0
        self.durable = [0] * STREAMS
        command = [os.path.join(words.source, 'guests/make-initramfs.sh'), self.initramfs, '--init',
                   os.path.join(self.here, 'guest-safety-init.sh'), '--file',
                   os.path.join(words.build, 'tests/virtio/guest-safety') + ':bin/guest-safety']
        for module in ['virtio_pci', 'virtio_blk'] + [fs for fs in words.fs if fs != 'ext4']:
            command += ['--module', module]
        subprocess.run(command, check=True)

    def result(self, problems, name):
        self.number += 1
        self.failures += bool(problems)
        print('%s %u - %s' % ('not ok' if problems else 'ok', self.number, name))
        for problem in problems:
            print('# ' + problem.replace('\n', '\n# '))
        sys.stdout.flush()

    def make(self, fs):
        self.fs = fs
        self.durable = [0] * STREAMS
        with open(self.medium, 'wb') as file:
            file.truncate(SIZE)
        subprocess.run(FILESYSTEMS[fs] + [self.medium], check=True, stdout=subprocess.DEVNULL)

    def problems_of(self, lines):
        """What the guest found that must not be; notes what is durable now."""
        problems = []
        for line in lines:
            words = line.split()
            if len(words) != 3 or not (words[1] + words[2]).isdigit():
                continue
            stream, number = int(words[1]), int(words[2])
            if words[0] == 'corrupt':
                problems.append('stream %u is corrupt' % stream)
            elif words[0] == 'found' and number < self.durable[stream]:
                problems.append('stream %u: %u records are there, %u were durable' % (
                    stream, number, self.durable[stream]))
            elif words[0] == 'synced':
                self.durable[stream] = max(self.durable[stream], number)
        return problems

    def fsck(self):
        """What is wrong with the file system, as a list. The journal is replayed in a copy."""
        if self.fs == 'btrfs':
            problem = run(['btrfs', 'check', '--readonly', self.medium])
        else:
            copy = self.medium + '.copy'
            subprocess.run(['cp', '--sparse=always', self.medium, copy], check=True)
            # What it says counts only in the check that follows.
            run(['e2fsck', '-y', '-E', 'journal_only', copy])
            problem = run(['e2fsck', '-f', '-n', copy])
            os.unlink(copy)
        return ['fsck: ' + problem] if problem else []

    def round(self):
        keep = self.random.choice([0, 0, 30, 80])
        delay = self.random.uniform(0, 2.5)
        guest = Guest(self, 'write', '--keep', str(keep), '--seed', str(self.random.randrange(1 << 30)))
        problems = []
        if guest.wait_for('mounted', BOOT_SECONDS):
            guest.read_for(delay)
        else:
            problems.append('the guest did not mount the disk')
        if guest.machine.poll() is not None or any(line.startswith('failed') for line in guest.lines):
            problems.append('the guest had errors')
        if problems:
            problems.append(guest.said())
        guest.kill(self.random.choice([1, -1]))
        before = sum(self.durable)
        problems += self.problems_of(guest.lines)
        problems += self.fsck()
        return problems, 'round: %s, killed %.2f s after the mount, %u %% kept, %u records durable' % (
            self.fs, delay, keep, sum(self.durable) - before)

    def last(self):
        guest = Guest(self, 'check')
        unmounted = guest.wait_for('unmounted', BOOT_SECONDS)
        problems = self.problems_of(guest.lines)
        guest.read_for(10)
        if not unmounted:
            problems.append('the guest did not unmount the disk: ' + guest.said())
            guest.machine.kill()
        if guest.end() != 0:
            problems.append('the machine did not power off: ' + guest.said())
        return problems + self.fsck()

    def test_the_test(self):
        """Flushes that do nothing are noticed."""
        self.make('ext4')
        guest = Guest(self, 'write', '--lie')
        guest.wait_for('synced 0 9', BOOT_SECONDS)
        guest.kill(1)
        self.problems_of(guest.lines)
        problems = self.last()
        lost = any('were durable' in problem for problem in problems)
        self.result([] if lost else ['nothing was lost', *problems], 'records are missing where flushes do nothing')

    def test_the_end(self, how):
        """A machine whose disk's server does not answer ends when it is told to, requests in flight or not."""
        self.make('ext4')
        guest = Guest(self, 'write')
        problems = [] if guest.wait_for('synced 0 1', BOOT_SECONDS) else ['the guest did not write: ' + guest.said()]
        guest.server.send_signal(how)
        self.result(problems + self.ends(guest), 'the machine ends soon after SIGTERM, the server got %s' % how.name)

    def ends(self, guest):
        """What is wrong with how it ends."""
        problems = []
        guest.read_for(0.5)
        start = time.monotonic()
        guest.machine.terminate()
        while guest.read(start + 20) and time.monotonic() < start + 20:
            pass
        seconds = time.monotonic() - start
        if seconds > END_SECONDS * SCALE:
            problems.append('it took %.1f s' % seconds)
            guest.machine.kill()
        status = guest.end()
        if status != -signal.SIGTERM:
            problems.append('its exit status is %d' % status)
        return problems

    def test_a_pause_is_called_off(self):
        """A pause waits for a server that does not answer; a resume calls it off, and nothing is lost."""
        def call(*words):
            done = subprocess.run([self.words.veneer, *words, guest.control], capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout + done.stderr

        self.make('ext4')
        guest = Guest(self, 'write')
        problems = [] if guest.wait_for('synced 0 1', BOOT_SECONDS) else ['the guest did not write: ' + guest.said()]
        guest.server.send_signal(signal.SIGSTOP)
        guest.read_for(1)
        pause = subprocess.Popen([self.words.veneer, 'pause', guest.control], stderr=subprocess.PIPE, text=True)
        guest.read_for(1)
        if pause.poll() is not None:
            problems.append('the pause did not wait')
        start = time.monotonic()
        if (got := call('resume')) != (0, ''):
            problems.append('resume: %r' % (got,))
        said = pause.communicate()[1]
        if pause.returncode != 4 or 'was resumed while its devices' not in said:
            problems.append('pause: %r' % ((pause.returncode, said),))
        if time.monotonic() > start + 2 * SCALE:
            problems.append('they took %.1f s' % (time.monotonic() - start))
        guest.server.send_signal(signal.SIGCONT)
        synced = sum(line.startswith('synced 0 ') for line in guest.lines)
        if not guest.wait_for('synced 0 %u' % (synced + 5), 60 * SCALE):
            problems.append('the guest does not go on: ' + guest.said())
        for word in ('pause', 'resume'):
            if (got := call(word)) != (0, ''):
                problems.append('%s, with a server: %r' % (word, got))
        if problems:
            problems.append(guest.said())
        problems += self.ends(guest) + self.problems_of(guest.lines)
        self.result(problems + self.fsck(), 'a pause that waits for a disk is called off by a resume')

    def test_a_stuck_host(self):
        """Calls to the host's kernel do not return; what was durable before is there."""
        self.make('ext4')
        flag = os.path.join(self.work, 'stuck')
        guest = Guest(self, 'write', stuck_by=flag)
        if not guest.wait_for('synced 0 5', BOOT_SECONDS) and guest.machine.poll() == 77:
            guest.end()
            self.result([], 'the machine ends soon though the host is stuck # SKIP no seccomp_unotify(2)')
            return
        open(flag, 'w').close()
        problems = self.ends(guest)
        problems += self.problems_of(guest.lines)
        if not self.durable[0] or 'host does not complete' not in guest.said():
            problems.append('nothing was stuck: ' + guest.said())
        if os.path.exists(guest.screen):
            problems.append("the screen's socket is left")
        self.result(problems + self.last(), 'the machine ends soon though the host is stuck')

    def run(self):
        # A few rounds are of each file system, too.
        of_one = max(1, min(ROUNDS_OF_ONE, -(-self.words.rounds // len(self.words.fs))))
        for i in range(self.words.rounds):
            if i % of_one == 0:
                self.make(self.words.fs[i // of_one % len(self.words.fs)])
            self.result(*self.round())
            if i % of_one == of_one - 1 or i == self.words.rounds - 1:
                self.result(self.last(), 'all is there: %s' % self.fs)
        self.test_the_test()
        self.test_the_end(signal.SIGKILL)
        self.test_the_end(signal.SIGSTOP)
        self.test_a_pause_is_called_off()
        self.test_a_stuck_host()
        print('1..%u' % self.number)
        return self.failures != 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('veneer')
    parser.add_argument('build')
    parser.add_argument('source')
    parser.add_argument('engine')
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--fs', action='append', choices=FILESYSTEMS)
    parser.add_argument('--seed', type=int, default=random.randrange(1 << 30))
    parser.add_argument('--cpus', type=int, default=2)
    words = parser.parse_args()
    words.fs = words.fs or [fs for fs in FILESYSTEMS if shutil.which(FILESYSTEMS[fs][0])]
    print('# seed %u' % words.seed)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as work:
        return Test(words, work).run()


if __name__ == '__main__':
    sys.exit(main())
