#!/usr/bin/env python3
"""Checks veneer on a terminal: raw mode while it runs, the Ctrl-a keys, and the terminal as it was
after every way out. Speaks TAP.

    terminal.py VENEER BUILD-DIR
"""
import fcntl
import os
import pty
import select
import signal
import sys
import termios
import time

veneer, kernels = sys.argv[1], os.path.join(sys.argv[2], 'tests', 'cli')
count = failures = 0


def result(passed, name, note=''):
    global count, failures
    count += 1
    failures += not passed
    print(f"{'ok' if passed else 'not ok'} {count} - {name}")
    if not passed and note:
        print(f'# {note}')
    sys.stdout.flush()


class Terminal:
    """veneer on a pseudo-terminal of its own, which outlives it so that its modes can be read."""

    def __init__(self, kernel, *arguments):
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.output = b''
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            self.start(kernel, *arguments)

    def start(self, kernel, *arguments):
        os.close(self.master)
        for fd in range(3):
            os.dup2(self.slave, fd)
        # The tests may be run with these signals ignored (nohup).
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os.execv(veneer, [veneer, 'run', '--kernel', os.path.join(kernels, kernel),
                          '--memory', '16M', *arguments])

    def read(self, seconds):
        ready, _, _ = select.select([self.master], [], [], seconds)
        if ready:
            self.output += os.read(self.master, 65536)
        return bool(ready)

    def expect(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.output and time.monotonic() < end:
            self.read(0.1)
        return text in self.output

    def type(self, keys):
        os.write(self.master, keys)

    def is_raw(self):
        flags = termios.tcgetattr(self.slave)[3]
        return not flags & (termios.ICANON | termios.ECHO | termios.ISIG)

    def wait_raw(self, seconds=20):
        end = time.monotonic() + seconds
        while not self.is_raw() and time.monotonic() < end:
            time.sleep(0.02)
        return self.is_raw()

    def finish(self, seconds=20):
        """Wait for the end. The wait status in the shell's form, or None where it does not end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read(0.05):
                    pass
                return os.waitstatus_to_exitcode(status)
            self.read(0.05)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        return None

    def restored(self):
        return termios.tcgetattr(self.slave) == self.before

    def close(self):
        os.close(self.master)
        os.close(self.slave)


def check_end(name, kernel, act, want, *arguments):
    """Start, see raw mode, act, and expect that exit status and the modes of before."""
    terminal = Terminal(kernel, *arguments)
    raw = terminal.wait_raw()
    if kernel != 'halt':
        raw = terminal.expect({'spin': b'.\n', 'reset-loop': b'rr'}.get(kernel, b'x')) and raw
    act(terminal)
    status = terminal.finish()
    result(raw and status == want and terminal.restored(), name,
           f'raw mode {raw}, status {status}, restored {terminal.restored()}, '
           f'output {terminal.output[-200:]}')
    terminal.close()


def kill(number):
    return lambda terminal: os.kill(terminal.pid, number)


def keys(text):
    return lambda terminal: terminal.type(text)


check_end('Ctrl-a x quits a guest that spins with interrupts off', 'spin', keys(b'\x01x'), 0)
check_end('Ctrl-a x quits a halted guest', 'halt', keys(b'\x01x'), 0)
check_end('Ctrl-a x quits a guest that floods the terminal', 'flood', keys(b'\x01x'), 0)
check_end('Ctrl-a x quits a guest that resets the machine for ever', 'reset-loop', keys(b'\x01x'), 0)
check_end('SIGINT ends a guest that resets the machine for ever', 'reset-loop', kill(signal.SIGINT),
          -signal.SIGINT)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV,
               signal.SIGABRT):
    check_end(f'the terminal is restored after {number.name}', 'spin', kill(number), -number)

terminal = Terminal('spin')
terminal.expect(b'.\n')
terminal.type(b'\x01h')
shown = terminal.expect(b'Ctrl-a x')
terminal.type(b'\x01x')
result(shown and terminal.finish() == 0, 'Ctrl-a h lists the keys')
terminal.close()

terminal = Terminal('echo')
terminal.wait_raw()
terminal.type(b'one\x03two\x1a')
echoed = terminal.expect(b'one\x03two\x1a')
terminal.type(b'\x01a')
echoed = echoed and terminal.expect(b'two\x1a\x01')
terminal.type(b'q')
status = terminal.finish()
result(echoed and status == 0 and terminal.restored(),
       'Ctrl-c and Ctrl-z, and Ctrl-a by Ctrl-a a, go to the guest', f'{terminal.output}')
terminal.close()

for kernel, arguments, want in (('power-off', (), 0), ('triple-fault', (), 6),
                                ('exit', ('--debug-exit', '0xf4'), 85)):
    terminal = Terminal(kernel, *arguments)
    status = terminal.finish()
    result(status == want and terminal.restored(),
           f'the terminal is restored after {kernel}', f'status {status}')
    terminal.close()

terminal = Terminal('none')
status = terminal.finish()
result(status == 4 and terminal.restored() and b'\r\n' in terminal.output,
       'the terminal is untouched where the machine cannot be built', f'status {status}')
terminal.close()



def job():
    """Ctrl-z of a shell: SIGTSTP stops a job only where its parent is of another process group in the
    same session, so there must be such a parent. It ends with the job's status."""
    terminal = Terminal.__new__(Terminal)
    terminal.master, terminal.slave = pty.openpty()
    terminal.before = termios.tcgetattr(terminal.slave)
    terminal.output = b''
    pipe = os.pipe()
    terminal.pid = os.fork()
    if terminal.pid == 0:
        os.setsid()
        fcntl.ioctl(terminal.slave, termios.TIOCSCTTY, 0)
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(terminal.slave, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            terminal.start('spin')
        os.write(pipe[1], b'%d ' % child)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 255)
    return terminal, int(os.read(pipe[0], 20))


def state(pid):
    with open(f'/proc/{pid}/stat') as file:
        return file.read().rpartition(') ')[2][0]


terminal, pid = job()
terminal.expect(b'.\n')
os.kill(pid, signal.SIGTSTP)
time.sleep(0.5)
stopped = state(pid) == 'T' and terminal.restored()
os.kill(pid, signal.SIGCONT)
again = terminal.wait_raw()
terminal.type(b'\x01x')
status = terminal.finish()
result(stopped and again and status == 0, 'the terminal is given back while veneer is stopped',
       f'given back {stopped}, raw again {again}, status {status}')
terminal.close()

print(f'1..{count}')
sys.exit(failures > 0)
