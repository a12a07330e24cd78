"""A small VNC client (RFC 6143), for tests: raw pixels, keys, the pointer, a password.

Tight pixels are only counted, not decoded: libvncserver makes them, and it is not what is tested."""
import socket
import struct
import time

RAW, TIGHT, NEW_SIZE = 0, 7, -223


class Client:
    def __init__(self, address, password=None, encodings=(RAW, NEW_SIZE)):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            self.socket = socket.socket()
        self.socket.settimeout(10)
        self.socket.connect(address)
        assert self.take(12) == b'RFB 003.008\n'
        self.socket.sendall(b'RFB 003.008\n')
        kinds = self.take(self.take(1)[0])
        self.kind = 2 if 2 in kinds else 1
        self.socket.sendall(bytes([self.kind]))
        if self.kind == 2:
            self.socket.sendall(respond(self.take(16), password or ''))
        self.accepted = struct.unpack('>I', self.take(4))[0] == 0
        if not self.accepted:
            return
        self.socket.sendall(b'\1')
        self.width, self.height = struct.unpack('>HH', self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack('>I', self.take(4))[0])
        # 32 bits, red in the highest used byte: 0x00rrggbb in little-endian words.
        self.socket.sendall(struct.pack('>Bxxx BBBB HHH BBB xxx', 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.socket.sendall(struct.pack('>BxH', 2, len(encodings)) +
                            b''.join(struct.pack('>i', e) for e in encodings))
        self.pixels = {}
        self.rectangles = 0

    def take(self, size):
        data = b''
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def ask(self, incremental=True):
        self.socket.sendall(struct.pack('>BBHHHH', 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """One message of the server's. The kinds of its rectangles, with their sizes."""
        kind = self.take(1)[0]
        if kind == 2:
            return []
        assert kind == 0, kind
        seen = []
        _, count = struct.unpack('>BH', self.take(3))
        while count:
            x, y, w, h, encoding = struct.unpack('>HHHHi', self.take(12))
            seen.append((encoding, x, y, w, h))
            if encoding == NEW_SIZE:
                self.width, self.height = w, h
                self.pixels = {}
            elif encoding == RAW:
                data = self.take(w * h * 4)
                for row in range(h):
                    self.pixels[y + row, x, w] = data[row * w * 4:(row + 1) * w * 4]
            elif encoding == TIGHT:
                self.take_tight(w, h)
            elif encoding == -224:   # the last rectangle
                break
            count -= 1
        self.rectangles += len(seen)
        return seen

    def take_length(self):
        value, shift = 0, 0
        for _ in range(3):
            byte = self.take(1)[0]
            value |= (byte & 0x7f) << shift if shift < 14 else byte << 14
            shift += 7
            if not byte & 0x80:
                break
        return value

    def take_tight(self, w, h):
        control = self.take(1)[0] >> 4
        if control == 8:
            self.take(3)
        elif control == 9:
            self.take(self.take_length())
        else:
            bits, size = 24, 0
            if control & 4:
                chosen = self.take(1)[0]
                if chosen == 1:
                    colours = self.take(1)[0] + 1
                    self.take(3 * colours)
                    bits = 1 if colours == 2 else 8
            size = (w * bits + 7) // 8 * h
            self.take(size if size < 12 else self.take_length())

    def pixel(self, x, y):
        found = None
        for (row, left, width), data in self.pixels.items():
            if row == y and left <= x < left + width:
                found = struct.unpack_from('<I', data, 4 * (x - left))[0] & 0xffffff
        return found

    def until(self, condition, seconds=10):
        """Take updates until the condition holds. Whether it does."""
        end = time.time() + seconds
        while not condition():
            if time.time() > end:
                return False
            self.socket.settimeout(max(0.1, end - time.time()))
            try:
                self.ask()
                self.update()
            except TimeoutError:
                return condition()
        return True

    def key(self, keysym, down):
        self.socket.sendall(struct.pack('>BBxxI', 4, down, keysym))

    def type(self, text):
        for character in text:
            keysym = 0xff0d if character == '\n' else ord(character)
            self.key(keysym, 1)
            self.key(keysym, 0)

    def pointer(self, x, y, buttons=0):
        self.socket.sendall(struct.pack('>BBHH', 5, buttons, x, y))

    def close(self):
        self.socket.close()


def respond(challenge, password):
    """VNC's authentication: DES, with the key's bits in reverse order; openssl(1) knows DES."""
    import subprocess
    key = bytes(int(f'{byte:08b}'[::-1], 2) for byte in password.encode()[:8].ljust(8, b'\0'))
    return subprocess.run(
        ['openssl', 'enc', '-des-ecb', '-nopad', '-K', key.hex(), '-provider', 'legacy', '-provider', 'default'],
        input=challenge, stdout=subprocess.PIPE, check=True).stdout
