#!/usr/bin/env python3
"""The host's end of a port whose guest sends back what it gets: python3 port-client.py SOCKET"""
import os
import socket
import sys
import time

ROUNDS = 3
SIZE = 1 << 20
DEADLINE = time.monotonic() + 100


def connect(path):
    while True:
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
            return client
        except OSError:
            client.close()
            if time.monotonic() > DEADLINE:
                raise
            time.sleep(0.1)


def talk(path, size):
    """Send and receive at once: with neither end reading, both would wait."""
    sent = os.urandom(size)
    got = bytearray()
    done = 0
    with connect(path) as client:
        client.settimeout(0.05)
        while len(got) < size:
            if time.monotonic() > DEADLINE:
                sys.exit(f'{len(got)} of {size} bytes came back')
            try:
                if done < size:
                    done += client.send(sent[done:done + 65536])
                got += client.recv(1 << 20)
            except TimeoutError:
                pass
        if got != sent:
            sys.exit('other bytes came back')


for number in range(ROUNDS):
    talk(sys.argv[1], SIZE)
