"""A terminal: what is left on it of the bytes that veneer sends, as far as --display text needs one."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time


class Terminal:
    def __init__(self, command, columns=80, rows=25):
        self.master, slave = pty.openpty()
        self.resize(columns, rows)
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=subprocess.PIPE,
                                        start_new_session=True)
        os.close(slave)
        self.pending = ''
        self.bytes = 0

    def resize(self, columns, rows):
        self.columns, self.rows = columns, rows
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack('HHHH', rows, columns, 0, 0))
        self.clear()

    def clear(self):
        self.cells = [[(' ', '') for _ in range(self.columns)] for _ in range(self.rows)]
        self.row = self.column = 0
        self.colours = ''
        self.cursor = True

    def read(self, seconds):
        """Take what comes within the time, until it has been quiet for a while."""
        end = time.time() + seconds
        while time.time() < end:
            if not select.select([self.master], [], [], 0.1)[0]:
                return
            try:
                data = os.read(self.master, 65536)
            except OSError:
                return
            self.bytes += len(data)
            self.feed(data.decode(errors='replace'))

    def feed(self, text):
        text = self.pending + text
        at = 0
        while at < len(text):
            if text[at] != '\033':
                self.put(text[at])
                at += 1
                continue
            sequence = re.match(r'\033\[([?0-9;]*)([A-Za-z])', text[at:])
            if not sequence:
                break
            self.control(*sequence.groups())
            at += sequence.end()
        self.pending = text[at:]

    def put(self, character):
        if character == '\r':
            self.column = 0
        elif character == '\n':
            self.row = min(self.row + 1, self.rows - 1)
        elif self.row < self.rows and self.column < self.columns:
            self.cells[self.row][self.column] = (character, self.colours)
            self.column += 1

    def control(self, arguments, final):
        if final == 'H':
            row, _, column = arguments.partition(';')
            self.row, self.column = int(row or 1) - 1, int(column or 1) - 1
        elif final == 'J':
            self.clear()
        elif final == 'm':
            self.colours = arguments
        elif arguments == '?25':
            self.cursor = final == 'h'

    def text(self):
        return '\n'.join(''.join(c for c, _ in row).rstrip() for row in self.cells)

    def colours_of(self, text):
        for row in self.cells:
            at = ''.join(c for c, _ in row).find(text)
            if at >= 0:
                return row[at][1]
        return None

    def until(self, condition, seconds=20):
        end = time.time() + seconds
        while not condition():
            if time.time() > end or self.process.poll() is not None:
                return False
            self.read(0.5)
        return True

    def send(self, data):
        os.write(self.master, data)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
