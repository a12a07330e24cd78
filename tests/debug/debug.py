#!/usr/bin/env python3
"""The real gdb at --gdb: on a guest kernel of ours, with two processors, and on Debian's kernel.

usage: debug.py VENEER BUILD-DIR SOURCE-DIR [--short] ENGINE...	Speaks TAP. --short: without Debian, which runs under the first ENGINE."""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

veneer, build, source = (os.path.abspath(path) for path in sys.argv[1:4])
engines = [word for word in sys.argv[4:] if word != '--short']
work = tempfile.mkdtemp(prefix='veneer-debug-')
SCALE = int(os.environ.get('TIMEOUT_SCALE', 1))
number = failures = 0


def result(good, name, note=''):
    global number, failures
    number += 1
    failures += not good
    print(('ok' if good else 'not ok'), number, '-', name, flush=True)
    if not good and note:
        print('#', str(note)[-3000:].replace('\n', '\n# '), flush=True)


class Machine:
    """veneer, which listens for gdb; its output is collected."""

    def __init__(self, *options):
        self.socket = f'{work}/gdb.sock'
        self.output = ''
        self.process = subprocess.Popen(
            ['timeout', '-k', '5', str(90 * SCALE), veneer, 'run', '--no-reboot', *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.wait_for(lambda: os.path.exists(self.socket))

    def read(self):
        while data := os.read(self.process.stdout.fileno(), 4096):
            self.output += data.decode(errors='replace')

    @staticmethod
    def wait_for(condition, seconds=60 * SCALE):
        end = time.time() + seconds
        while not condition() and time.time() < end:
            time.sleep(0.02)
        return condition()

    def says(self, text):
        return self.wait_for(lambda: text in self.output or self.process.poll() is not None) and text in self.output

    def end(self):
        try:
            status = self.process.wait(30 * SCALE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = None
        self.reader.join(5)
        return status


def gdb(machine, *commands, file=None):
    """Run gdb's commands, and return what it said; 'echo' marks are the caller's."""
    words = ['gdb', '-nx', '-batch', '-iex', 'set debuginfod enabled off', '-ex', 'set confirm off', '-ex', 'set pagination off',
             '-ex', 'set tcp auto-retry off', '-ex', f'target remote {machine.socket}']
    for command in commands:
        words += ['-ex', command]
    done = subprocess.run(['timeout', '-k', '5', str(60 * SCALE), *words, *([file] if file else [])],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    return done.stdout


def has(text, *patterns):
    """All patterns, one after the other."""
    at = 0
    for pattern in patterns:
        found = re.compile(pattern, re.M).search(text, at)
        if not found:
            return False
        at = found.end()
    return True


def our_kernel(engine):
    elf = f'{build}/guests/kernels/multicpu.elf'
    options = ('--kernel', f'{build}/guests/kernels/multicpu', '--append', 'cpus=2', '--cpus', '2', '--memory', '64M', '--engine',
               engine, '--debug-exit', '0xf4', '--gdb', f'unix:{work}/gdb.sock,wait')
    machine = Machine(*options)
    said = gdb(machine, 'info threads', 'monitor info status', 'p $cr0', 'break test_reset_state', 'continue', 'backtrace', 'p $cr0', 'p $efer', 'stepi',
               'p/x $pc - (long)guest_main', 'set var $rbx = 0x123456789abc', 'p/x $rbx', 'set var $xmm3.uint128 = 77',
               'p $xmm3.uint128', 'p/x *(int *)0x100000', 'p *(int *)0xfee00020', 'maint packet Qqemu.PhyMemMode:1', 'x/1wx 0x100000',
               'maint packet Qqemu.PhyMemMode:0', 'delete', 'hbreak listen', 'continue', 'info threads', 'p $fs_base', 'delete',
               'watch received_total', 'continue', 'delete', 'detach', file=elf)
    result(has(said, r'1 .*CPU#0 \[running\]', r'2 .*CPU#1 \[waits for SIPI\]', r'VM status: paused', r'\[ PE ET \]'), f'{engine}: it waits before the first instruction', said)
    result(has(said, r'hit Breakpoint 1, test_reset_state', r'#1 .*guest_main', r'= \[ .*PG', r'= \[ LME LMA'), f'{engine}: a breakpoint at a symbol', said)
    result(has(said, r'= 0x123456789abc', r'= 77'), f'{engine}: registers are written and read', said)
    result(has(said, r'= 0x1badb002', r'Cannot access', r'0x100000.*0x1badb002'), f'{engine}: memory, not devices, and physical', said)
    result(has(said, r'hit Breakpoint \d+, .*listen \(cpu=1\)', r'\* 2 '), f'{engine}: a hardware breakpoint on the second processor', said)
    result(has(said, r'Hardware watchpoint', r'hit Hardware watchpoint', r'Old value = 0', r'New value = 1'), f'{engine}: a watchpoint', said)
    status = machine.end()
    result(status == 1 and '0 failed' in machine.output, f'{engine}: the guest has noticed nothing', f'{status}\n{machine.output}')

    machine = Machine(*options)
    said = gdb(machine, 'break meet', 'continue', *['stepi'] * 40, 'info threads', file=elf)
    result(has(said, r'hit Breakpoint 1', r'Thread 1'), f'{engine}: many steps', said)
    result(machine.end() == 1 and '0 failed' in machine.output, f'{engine}: the machine goes on when gdb ends', machine.output)
    machine = Machine(*options)
    gdb(machine, 'kill', file=elf)
    result(machine.end() == 0 and not machine.output, f'{engine}: kill ends the machine', machine.output)


def packet(client, text, answers=1):
    """Send a packet without gdb, and return the answers' data."""
    client.sendall(b'$%s#%02x' % (text, sum(text) & 255) if text else b'')
    data = b''
    while data.count(b'#') < answers or data[-3:-2] != b'#':
        piece = client.recv(4096)
        if not piece:
            break
        data += piece
    return data


def clients_of_our_own(engine):
    """A client that hangs up leaves nothing behind."""
    machine = Machine('--kernel', f'{build}/guests/kernels/multicpu', '--append', 'cpus=2', '--cpus', '2', '--memory', '64M',
                      '--engine', engine, '--debug-exit', '0xf4', '--gdb', f'unix:{work}/gdb.sock,wait')

    def connect():
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30 * SCALE)
        client.connect(machine.socket)
        return client
    client = connect()
    good = b'T05' in packet(client, b'?')
    client.close()
    client = connect()
    good &= b'$T05thread:01;' in packet(client, b'?') and b'+$#00' in packet(client, b'fly')
    client.sendall(b'$M0,')                       # half a packet
    client.close()
    result(good, f'{engine}: one client after the other, while the machine waits', machine.output)
    client = connect()
    address = int(subprocess.run(['nm', f'{build}/guests/kernels/multicpu.elf'], stdout=subprocess.PIPE, text=True).stdout.split(' T guest_main')[0].split()[-1], 16)
    packet(client, b'Z0,%x,1' % address)
    said = packet(client, b'vCont;c')
    result(b'T05thread:01;' in said, f'{engine}: a breakpoint, without gdb', said)
    client.close()
    status = machine.end()
    result(status == 1, f'{engine}: where a client hangs up the machine goes on, without its breakpoints', f'{status}\n{machine.output}')


INIT = '''#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
echo 0 >/proc/sys/kernel/kptr_restrict
grep -w -E '[tT] (__x64_sys_getppid|ksys_sync|vfs_statx)$' /proc/kallsyms
grep -w -E '[dDbB] jiffies$' /proc/kallsyms
echo guest is ready
while read -r line; do
        [ "$line" = end ] && break
        [ "$line" = sync ] && sync && echo has synced
done
echo "end after $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
'''


def debian(engine):
    with open(f'{work}/init', 'w') as file:
        file.write(INIT)
    subprocess.run([f'{source}/guests/make-initramfs.sh', f'{work}/initramfs', '--init', f'{work}/init'], check=True)
    machine = Machine('--kernel', f'{source}/.cache/guest/vmlinuz', '--initrd', f'{work}/initramfs', '--cpus', '2', '--engine', engine,
                      '--append', 'console=ttyS0 quiet panic=-1', '--gdb', f'unix:{work}/gdb.sock')
    if not machine.says('guest is ready'):
        result(False, f'{engine}: Debian boots beside --gdb', machine.output)
        machine.process.kill()
        return
    symbols = dict(reversed(line.split()[::2]) for line in machine.output.splitlines() if re.match('[0-9a-f]{16} ', line))
    stop = '0x' + symbols['ksys_sync']
    threading.Timer(2, lambda: (machine.process.stdin.write(b'sync\n'), machine.process.stdin.flush())).start()
    said = gdb(machine, f'break *{stop}', 'continue', 'info threads', 'x/1i $pc', 'stepi', 'stepi', 'p $cr3', 'delete',
               f'watch *(long *)0x{symbols["jiffies"]}', 'continue', 'delete', 'detach')
    result(has(said, r'hit Breakpoint 1, ' + stop, r'CPU#0', r'CPU#1'), f'{engine}: a breakpoint in Debian\'s kernel', said)
    result(has(said, r'hit Hardware watchpoint 2'), f'{engine}: a watchpoint on jiffies', said)
    result(machine.says('has synced'), f'{engine}: the kernel goes on after detach', machine.output)
    # Ctrl-C, as the terminal sends it.
    process = subprocess.Popen(['gdb', '-nx', '-q', '-iex', 'set debuginfod enabled off', '-ex', 'set confirm off',
                                '-ex', f'target remote {machine.socket}', '-ex', 'continue'],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    try:
        said, _ = process.communicate('info threads\ndetach\nquit\n', timeout=60 * SCALE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
    result(has(said, r'received signal SIGINT', r'CPU#1'), f'{engine}: Ctrl-C', said)
    machine.process.stdin.write(b'end\n')
    machine.process.stdin.flush()
    status = machine.end()
    result(status == 0 and 'end after' in machine.output, f'{engine}: Debian shuts down', f'{status}\n{machine.output}')


try:
    if not shutil.which('gdb'):
        print('1..0 # SKIP there is no gdb (package gdb)')
        sys.exit(0)
    for name in engines:
        our_kernel(name)
        clients_of_our_own(name)
    if '--short' not in sys.argv:
        debian(engines[0])
finally:
    shutil.rmtree(work)
print(f'1..{number}')
sys.exit(failures != 0)
