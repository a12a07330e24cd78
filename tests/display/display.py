#!/usr/bin/env python3
"""Those who show a screen, with Debian's kernel on a VGA's text mode: the terminal, screenshots, VNC.

usage: display.py VENEER SOURCE-DIR		Speaks TAP."""
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from screen import Terminal     # noqa: E402
import vnc_client               # noqa: E402
from vnc_client import Client, RAW, TIGHT, NEW_SIZE     # noqa: E402

veneer, source = os.path.abspath(sys.argv[1]), sys.argv[2]
here = os.path.dirname(os.path.abspath(__file__))
work = tempfile.mkdtemp(prefix='veneer-display-')
number = failures = 0
HELLO = 'hello from the guest'
BLUE, BROWN = 0x0000aa, 0xaa5500


def result(good, name, note=''):
    global number, failures
    number += 1
    failures += not good
    print(('ok' if good else 'not ok'), number, '-', name, flush=True)
    if not good and note:
        print('#', str(note).replace('\n', '\n# '), flush=True)


def command(*display):
    return [veneer, 'run', '--kernel', source + '/.cache/guest/vmlinuz', '--initrd', work + '/initramfs',
            '--append', 'console=tty0 panic=-1', *display]


def wait_for(condition, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        try:
            if condition():
                return True
        except OSError:
            pass
        time.sleep(0.1)
    return False


def screenshot(name):
    path = f'{work}/{name}'
    status = subprocess.run([veneer, 'screenshot', work + '/control', path], stderr=subprocess.PIPE)
    return status.returncode == 0 and open(path, 'rb').read()


def pixels(ppm):
    """Width, height, and the pixels as 0xrrggbb."""
    kind, size, _, data = ppm.split(b'\n', 3)
    width, height = map(int, size.split())
    assert kind == b'P6' and len(data) == 3 * width * height
    return width, height, [int.from_bytes(data[i:i + 3], 'big') for i in range(0, len(data), 3)]


# --- the terminal ---

def on_the_terminal():
    terminal = Terminal(command('--display', 'text'))
    result(terminal.until(lambda: HELLO in terminal.text(), 60), 'the text screen is on the terminal',
           terminal.text())
    result(terminal.colours_of(HELLO) == '33;44', 'in its colours', terminal.colours_of(HELLO))
    terminal.until(lambda: '# ' in terminal.text())
    terminal.send(b'echo "Ab#$" | tr b c\n')
    result(terminal.until(lambda: '\nAc#$' in terminal.text()), 'what is typed are keys', terminal.text())
    terminal.send(b'\033[A')
    result(terminal.until(lambda: terminal.text().count('| tr') == 2), 'so are arrows', terminal.text())
    before = terminal.bytes
    terminal.send(b'x')
    terminal.until(lambda: terminal.bytes > before, 5)
    terminal.read(1)
    result(0 < terminal.bytes - before < 200, 'only what has changed is sent', terminal.bytes - before)
    terminal.resize(40, 6)
    result(terminal.until(lambda: 'tr b cx' in terminal.text()), 'it follows the size of the terminal',
           terminal.text())
    terminal.send(b'\x01x')
    terminal.read(1)
    result(terminal.process.wait(10) == 0, 'Ctrl-a x ends it')
    terminal.close()


# --- screenshots and VNC ---

class Machine:
    def __init__(self, *display):
        self.errors = open(work + '/errors', 'w+')
        self.process = subprocess.Popen(command('--control', work + '/control', *display),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.errors)

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def quit(self):
        subprocess.run([veneer, 'quit', work + '/control'], timeout=20)
        return self.process.wait(20)


def shows_hello():
    ppm = screenshot('hello.ppm')
    return ppm and BLUE in pixels(ppm)[2]


def pictures():
    machine = Machine('--display', 'none')
    result(wait_for(shows_hello, 60), 'a picture shows the text screen')
    width, height, dots = pixels(screenshot('one.ppm'))
    result((width, height) == (720, 400) and BROWN in dots, 'with the guest\'s font and colours', (width, height))
    png = screenshot('one.png')
    result(png and png.startswith(b'\x89PNG') and len(png) < 20000, 'a PNG is small', len(png or b''))
    result(not screenshot('nowhere/x.png') and machine.process.poll() is None,
           'where it cannot be written there is an error')
    result(machine.quit() == 0, 'the machine ends')


def same_as_screenshot(client):
    client.ask(False)
    area = 0
    while area < client.width * client.height:  # what comes first may be an answer to an earlier question
        client.pixels = {}
        area = sum(w * h for encoding, _, _, w, h in client.update() if encoding == RAW)
    dots = pixels(screenshot('vnc.ppm'))[2]
    got = [None] * len(dots)
    for (row, left, size), data in client.pixels.items():
        got[row * client.width + left:row * client.width + left + size] = \
            [pixel & 0xffffff for pixel in struct.unpack(f'<{size}I', data)]
    # The cursor blinks.
    return sum(a != b for a, b in zip(dots, got)) <= 2 * 9 * 16


def children(pid):
    return [int(line) for line in open(f'/proc/{pid}/task/{pid}/children').read().split()]


def helper_of(machine):
    return next(pid for pid in children(machine.process.pid)
                if open(f'/proc/{pid}/comm').read().startswith('veneer-vnc'))


def flood(address):
    """Whoever sends this is cut off, or not; the machine and other clients do not care."""
    rng = random.Random(7)
    for _ in range(3):
        client = vnc_client.socket.socket(vnc_client.socket.AF_UNIX)
        client.settimeout(1)
        client.connect(address)
        try:
            for _ in range(20):
                client.sendall(rng.randbytes(4096))
        except OSError:
            pass
        client.close()
    client = Client(address)
    client.socket.settimeout(2)
    try:
        for i in range(20000):
            client.pointer(rng.randrange(720), rng.randrange(400), rng.randrange(256))
            client.key(rng.randrange(1 << 32), i & 1)
    except OSError:
        pass
    return client


def comes_in(address):
    try:
        return Client(address).accepted
    except (EOFError, OSError):
        return False


def by_vnc():
    address = work + '/vnc'
    machine = Machine('--display', 'vnc=' + address)
    result(wait_for(lambda: os.path.exists(address)) and wait_for(shows_hello, 60), 'VNC is there')
    result(os.stat(address).st_mode & 0o77 == 0, 'for the user alone')
    client, second = Client(address), Client(address, encodings=(TIGHT, NEW_SIZE))
    result(client.until(lambda: client.width == 720) and client.height == 400, 'a client gets the size',
           (client.width, client.height))
    result(same_as_screenshot(client), 'the picture is the screenshot\'s')
    second.ask(False)
    result(second.until(lambda: second.rectangles > 2), 'a second client gets Tight')
    client.pixels = {}
    client.type('reset\necho Hi >/dev/tty0\n')
    result(client.until(lambda: len(client.pixels) > 0), 'keys reach the guest, which answers')
    client.until(lambda: False, 2)
    client.pixels = {}
    client.type('x')
    client.until(lambda: client.pixels, 5)
    result(0 < len(client.pixels) <= 5 * 16, 'only what has changed is sent', len(client.pixels))
    stalled = flood(address)
    result(machine.process.poll() is None and client.until(lambda: same_as_screenshot(client)),
           'a client that floods does not stop another')
    stalled.close()
    clients = []
    try:
        for _ in range(40):
            clients.append(vnc_client.socket.socket(vnc_client.socket.AF_UNIX))
            clients[-1].settimeout(1)
            clients[-1].connect(address)
    except OSError:
        pass
    result(wait_for(lambda: comes_in(address)), 'nor do forty at once that say nothing')
    for other in clients:
        other.close()
    os.kill(helper_of(machine), 9)
    result(wait_for(lambda: Client(address).accepted), 'the server is started again where it breaks')
    client = Client(address)
    result(client.until(lambda: client.width == 720) and same_as_screenshot(client), 'and shows the same')
    result('started again' in machine.said(), 'which is said', machine.said())
    result(machine.quit() == 0 and not os.path.exists(address), 'the machine ends, and its socket has gone')


def with_password():
    address = work + '/vnc'
    with open(work + '/password', 'w') as file:
        file.write('secret\n')
    machine = Machine('--display', f'vnc={address},password-file={work}/password')
    wait_for(lambda: os.path.exists(address))
    try:
        right, wrong = Client(address, 'secret'), Client(address, 'secreT')
    except (subprocess.CalledProcessError, FileNotFoundError):
        result(True, 'a password is asked for # SKIP this openssl has no DES')
    else:
        result(right.kind == 2 and right.accepted, 'the right password is accepted')
        result(not wrong.accepted, 'a wrong one is not')
    machine.quit()
    machine = Machine('--display', f'vnc={address},password-file={work}/none')
    result(machine.process.wait(20) == 4 and 'none' in machine.said(), 'a password file that is missing is named',
           machine.said())
    machine = Machine('--display', f'vnc={work}/no/where')
    result(machine.process.wait(20) == 4 and 'where' in machine.said(), 'so is a path where nothing can listen',
           machine.said())


subprocess.run([source + '/guests/make-initramfs.sh', work + '/initramfs', '--init', here + '/guest-init.sh'],
               check=True)
on_the_terminal()
pictures()
by_vnc()
with_password()
print(f'1..{number}')
subprocess.run(['rm', '-rf', work])
sys.exit(failures != 0)
