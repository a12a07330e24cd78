#!/usr/bin/env python3
"""Writes the fuzzers' seeds: small well-formed images that their mutations start from.

    tests/fuzz/make_seeds.py        # into tests/fuzz/corpus
"""
import os
import struct

corpus = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus')
ADDRESS = 0x200000


def write(target, name, data):
    os.makedirs(os.path.join(corpus, target), exist_ok=True)
    with open(os.path.join(corpus, target, name), 'wb') as file:
        file.write(data)


def storage_step(action, choice, value):
    return struct.pack('<BBH', action, choice, value)


def ide():
    """DMA by a table, PIO both ways, a reset, and a packet."""
    steps = [(7, 16, 0x8000), (4, 0x24, 0x80), (1, 6, 0xe0), (1, 2, 2), (1, 7, 0xc8), (4, 0, 9), (6, 0, 1),
             (1, 7, 0x20), (6, 0, 1), (2, 0, 512), (6, 0, 16), (1, 2, 1), (1, 7, 0x30), (3, 0, 256), (6, 0, 1),
             (5, 0, 4), (5, 0, 0), (1, 0x86, 0xb0), (1, 0x87, 0xa0), (3, 0x80, 6), (6, 0, 1), (1, 0x87, 0xa1),
             (2, 0x80, 256)]
    return b''.join(storage_step(*step) for step in steps)


def ahci():
    """Commands in slots of their own: what comes after a step 3 is the command's FIS."""
    data = b''
    for slot, fis in enumerate([b'\x27\x80\x25\0\x07\0\0\x40\0\0\0\0\x02\0\0\0',
                                b'\x27\x80\x60\x02\x07\0\0\x40\0\0\0\0\x08\0\0\0',
                                b'\x27\x80\x06\x01\0\0\0\x40\0\0\0\0\x01\0\0\0',
                                b'\x27\x80\xec\0\0\0\0\x40\0\0\0\0\0\0\0\0']):
        data += storage_step(3, 0, slot) + fis + storage_step(4, slot & 1, slot) + storage_step(5, 0, 1)
    return data + storage_step(5, 0, 16)


def floppy():
    """Seek, read and write by DMA: what comes after a step 2 is the command."""
    data = storage_step(2, 0, 0) + b'\x0f\0\x01' + storage_step(5, 1, 511)
    for code in (0x46, 0xc5, 0x4d):
        data += storage_step(2, 0, 0) + bytes([code, 0, 1, 0, 1, 2, 18, 0x1b, 0xff])
        data += storage_step(6, 0, 1) + storage_step(3, 0, 7) + storage_step(5, 0, 1023)
    return data + storage_step(6, 0, 16)


def bzimage(version=0x20f, xloadflags=0x7f, pref=0x200000):
    image = bytearray(1024 + 64)
    image[0x1f1] = 1                                    # setup_sects
    struct.pack_into('<I', image, 0x1f4, 64 // 16)      # syssize
    struct.pack_into('<H', image, 0x1fe, 0xaa55)
    image[0x200:0x202] = b'\xeb\x66'
    image[0x202:0x206] = b'HdrS'
    struct.pack_into('<H', image, 0x206, version)
    image[0x211] = 1                                    # LOADED_HIGH
    struct.pack_into('<I', image, 0x22c, 0x7fffffff)    # initrd_addr_max
    struct.pack_into('<H', image, 0x236, xloadflags)
    struct.pack_into('<I', image, 0x238, 2047)          # cmdline_size
    struct.pack_into('<Q', image, 0x258, pref)
    struct.pack_into('<I', image, 0x260, 0x100000)      # init_size
    return bytes(image)


def elf64(segments=1, entry=ADDRESS):
    header = struct.pack('<4sBBBB8xHHIQQQIHHHHHH', b'\x7fELF', 2, 1, 1, 0, 2, 62, 1, entry, 64, 0, 0,
                         64, 56, segments, 0, 0, 0)
    for i in range(segments):
        header += struct.pack('<IIQQQQQQ', 1, 5, 0, 0xffffffff80000000 + ADDRESS,
                              ADDRESS + i * 0x1000, 128, 0x1000, 0x1000)
    return header + b'\x90' * 256


def elf32(multiboot=False):
    header = struct.pack('<4sBBBB8xHHIIIIIHHHHHH', b'\x7fELF', 1, 1, 1, 0, 2, 3, 1, ADDRESS, 52, 0, 0,
                         52, 32, 1, 0, 0, 0)
    header += struct.pack('<IIIIIIII', 1, 0, ADDRESS, ADDRESS, 128, 0x1000, 5, 0x1000)
    if multiboot:
        header += multiboot_header(3)
    return header + b'\x90' * 256


def multiboot_header(flags, fields=()):
    magic = 0x1badb002
    return struct.pack('<%dI' % (3 + len(fields)), magic, flags, -(magic + flags) & 0xffffffff, *fields)


def initrd(pref, init_size, limit, size):
    # struct wishes of fuzz_initrd.c
    return struct.pack('<QIIIB3x', pref, init_size, limit, size, 0x7f)


write('bzimage', 'current', bzimage())
write('bzimage', 'protocol-2.06', bzimage(version=0x206))
write('real_mode', 'initrd', struct.pack('<I', 0x1234) + bzimage(version=0x206))
write('bzimage', '32-bit', bzimage(xloadflags=0, pref=0x100000))
write('elf', '64-bit', elf64())
write('elf', '64-bit-two-segments', elf64(2, 0xffffffff80000000 + ADDRESS))
write('elf', '32-bit', elf32())
write('multiboot', 'elf', elf32(multiboot=True))
write('multiboot', 'flat',
      multiboot_header(0x10003, (0x100000, 0x100000, 0, 0x101000, 0x100020)) + b'\x90' * 64)
write('initrd', 'fits', initrd(0x200000, 0x100000, 0x7fffffff, 1000))
write('initrd', 'limited', initrd(0x200000, 0x100000, 0x5fffff, 0x200000))
write('initrd', 'low-memory', initrd(0x10000, 0x1b00, 0x7fffffff, 1000))
write('initrd', 'too-large', initrd(0x200000, 0x400000, 0x7fffffff, 0x600000))


def device_state(changes, steps):
    """Steps, of which some come before the state is saved; changes of its bytes; see fuzz_device_state.c."""
    return bytes([min(len(steps) // 16, 255), len(changes)]) + b''.join(
        struct.pack('<HBB', offset, value, cut) for offset, value, cut in changes) + steps


for name in ('pit', 'rtc', 'uart', 'ioapic', 'lapic-timer'):
    with open(os.path.join(corpus, 'chipset', name), 'rb') as file:
        steps = file.read()
    write('device_state', name, device_state([(28, 1, 0), (700, 0xff, 0)], steps))
    write('device_state', name + '-sound', device_state([], steps))
# From 0x80 on a step is one of the bus: 0x83 starts the disk, 0x84 adds a request, 0x85 completes one, 0x86 has the
# workers run. Half of the steps come before the save.
disk_steps = b''.join(struct.pack('<BBHI', *step) for step in (
    (0x83, 0, 0, 0), (0x86, 0, 0, 0), (0x84, 0, 0, 3), (0x84, 1, 0, 0x105), (0x86, 0, 0, 0), (0x85, 0, 0, 0),
    (0x85, 0, 0, 0), (0x86, 0, 0, 0), (0x84, 0, 0, 0x203), (0x86, 0, 0, 0), (0x85, 0, 0, 0), (0x87, 0, 0, 0)))
write('device_state', 'disk', device_state([], disk_steps))
write('device_state', 'disk-changed', device_state([(3000, 1, 2), (9, 0, 2)], disk_steps))

# fuzz_control.c: the size of pieces, less one, and what a client sends in them.
write('control', 'session',
      b'\x0a{"execute": "qmp_capabilities"}\n{"execute": "query-status", "id": [1, null]}\r\n'
      b'{"execute": "stop"}{"execute": "cont"}{"execute":\n"quit", "arguments": {}}')
write('control', 'more',
      b'\x01{"execute": "system_reset", "id": "\\"}"}{"execute": "system_powerdown"}'
      b'{"execute": "query-commands"}{"execute": "query-version"}')
write('control', 'errors',
      b'\x80{"execute": "qmp_capabilities", "arguments": {"enable": ["oob"]}}{"execute": 3}[1]\nfly\n'
      b'{"a": 1}{"execute": "fly"}')
write('control', 'input',
      b'\x81{"execute": "send-key", "arguments": {"keys": [{"type": "qcode", "data": "ctrl"}, {"type": "number",'
      b' "data": 30}], "hold-time": 5}}{"execute": "input-send-event", "arguments": {"events": [{"type": "key",'
      b' "data": {"down": true, "key": {"type": "qcode", "data": "kp_5"}}}, {"type": "rel", "data": {"axis": "y",'
      b' "value": -7}}, {"type": "btn", "data": {"down": true, "button": "wheel-up"}}]}}')


# fuzz_debug.c: a mode, and packets.
def packets(*texts):
    return b''.join(b'$%s#%02x+' % (text, sum(text) & 255) for text in texts)


write('debug', 'gdb', b'\x03' + packets(
    b'qSupported:swbreak+;hwbreak+;vContSupported+', b'vMustReplyEmpty', b'QStartNoAckMode', b'Hg0',
    b'qXfer:features:read:target.xml:0,ffb', b'qAttached', b'?', b'qfThreadInfo', b'qsThreadInfo', b'qThreadExtraInfo,1', b'g',
    b'p10', b'P1=0102030405060708', b'm1000,40', b'Z0,1000,1', b'Z2,2000,8', b'vCont;c', b'z2,2000,8', b'vCont;s:1;c',
    b'X1000,3:a}\x03b', b'Qqemu.PhyMemMode:1', b'M1000,1:cc', b'qRcmd,696e666f', b'D;1'))
write('debug', 'old', b'\x00' + packets(b'!', b'H c-1', b'Hc1', b's', b'c1000', b'S05', b'T2', b'k', b'G00', b'qC') + b'\x03-+')


# fuzz_saved_state.c: a mode, changes of the saved bytes, and code.
def saved_state(mode, changes, code):
    return bytes([mode, len(changes)]) + b''.join(
        struct.pack('<HBB8s', offset, len(value) - 1, where, value) for offset, where, value in changes) + code


CODE = {
    'integer': b'\x40\x48\xf7\xf1\x50\x5b\x0f\xa2\x9c\x9d\xe2\xf0\x0f\x31\xcd\x80\xf4',
    'system': b'\x0f\x20\xc0\x0f\x22\xc0\x0f\x20\xe0\x0f\x22\xe0\x0f\x21\xf8\x0f\x23\xf8\x0f\x01\xd0\x0f\x32\x0f\x30\xf4',
    'fpu': b'\xd9\xe8\xde\xc1\x0f\xae\x00\x0f\x58\xc1\xdd\x33\x0f\xae\x20\xdd\x23\xc5\xf8\x58\xc1\x0f\xae\x28\xf4',
    'segments': b'\x8c\xd8\x8e\xd8\x8e\xd0\x0f\xa1\x1f\x0f\x00\xd8\xcb\xca\x04\x00\xcf\x0f\x05\x0f\x34\xf4',
    'memory': b'\xf3\xa4\xf3\xab\x87\x03\xf0\x01\x03\xec\xee\xe5\x21\xe7\x80\x0f\xc7\x0b\xc8\x10\x00\x01\xc9\xf4',
}
for mode in range(8):
    for name, code in CODE.items():
        write('saved_state', '%u-%s' % (mode, name), saved_state(mode, [], code))
    # Offsets in struct cpu_state: what a single-step, a breakpoint, a waiting event, a selector are.
    write('saved_state', '%u-flags' % mode, saved_state(mode, [(145, 0, b'\x01')], CODE['integer']))
    write('saved_state', '%u-debug' % mode, saved_state(
        mode, [(440, 0, struct.pack('<Q', 0x8004)), (480, 0, struct.pack('<Q', 0x403))], CODE['memory']))
    write('saved_state', '%u-x87' % mode, saved_state(mode, [(0, 1, b'\x00\x00\x81\x80')], CODE['fpu']))


def virtqueue(packed, kind, descriptors, available, table=b''):
    # struct header of fuzz_virtqueue.c; descriptors at 0x1000, the driver's area at 0x1200, the
    # device's at 0x1300, an indirect table at 0x1400
    size = 8
    header = struct.pack('<BBBBHHHHHH', kind | packed, 0, size, 0b01010, 0x1000 // 4, 0x1200 // 4, 0x1300 // 4,
                         0, 0, 0 if packed else 1)
    driver = b'' if packed else struct.pack('<HH8H', 0, len(available), *(available + [0] * (8 - len(available))))
    return header + descriptors.ljust(0x200, b'\0') + driver.ljust(0x200, b'\0') + table


def split(address, length, flags, next):
    return struct.pack('<QIHH', address, length, flags, next)


def packed(address, length, id, flags):
    return struct.pack('<QIHH', address, length, id, flags | 0x80)


for kind in (0, 2, 4, 6):
    write('virtqueue', 'split-%u' % kind, virtqueue(
        0, kind, split(0x8000, 64, 1, 1) + split(0x9000, 64, 3, 2) + split(0x9000, 64, 2, 0) +
        split(0xa000, 64, 0, 0) + split(0x1400, 48, 4, 0), [0, 3, 4],
        split(0x8000, 16, 1, 1) + split(0x9000, 16, 3, 2) + split(0x9000, 16, 2, 0)))
    write('virtqueue', 'packed-%u' % kind, virtqueue(
        1, kind, packed(0x8000, 64, 0, 1) + packed(0x9000, 64, 0, 2) + packed(0x1400, 32, 1, 4) +
        packed(0xa000, 64, 2, 0), [], packed(0x8000, 16, 0, 0) + packed(0x9000, 16, 0, 2)))


# fuzz_virtio_block.c: steps of action, cut, readable, writable, type, unit, sector; a request's data is
# what follows its step.
def block(*steps):
    return b''.join(struct.pack('<6BH', *step) if isinstance(step, tuple) else step for step in steps)


COMPLETE, IDLE, RESET = (1, 0, 0, 0, 0, 0, 0), (3, 0, 0, 0, 0, 0, 0), (5, 0, 0, 0, 0, 0, 0)
write('virtio_block', 'transfers', block(
    (0, 0, 0, 2, 0, 2, 3), (0, 7, 2, 0, 1, 2, 5), (0, 0, 0, 0, 4, 0, 0), COMPLETE, COMPLETE, COMPLETE, IDLE))
write('virtio_block', 'serial', block((0, 3, 0, 20, 8, 0, 0), IDLE))
write('virtio_block', 'reset', block((0, 1, 1, 0, 1, 2, 9), RESET, (0, 4, 0, 1, 0, 2, 0), COMPLETE))
for kind, name in ((11, 'discard'), (13, 'zeroes')):
    write('virtio_block', name, block(
        (0, 0, 2, 0, kind, 1, 0), struct.pack('<QIIQII', 2, 1, 0, 4, 2, kind == 13), COMPLETE, COMPLETE, IDLE))


# fuzz_virtio_scsi.c: steps of action, cut, readable, writable, unit, target, lun, the command's 16 bytes;
# its parameters are what follows. What has no target is at a disk.
def scsi(*steps):
    return b''.join(
        struct.pack('<7B', *step[:7]) + bytes(step[7:]).ljust(16, b'\0') if isinstance(step, tuple) else step
        for step in steps)


READY = (0, 0, 0, 0, 2, 0, 0, 0x00), (0, 0, 0, 0, 2, 2, 3, 0x00), (0, 0, 0, 0, 2, 2, 3, 0x00)
COMPLETE, IDLE, RESET, CONFIG = (2, 0, 0, 0, 0, 0, 0), (4, 0, 0, 0, 0, 0, 0), (6, 0, 0, 0, 0, 0, 0), (7, 0, 0, 0, 0, 0, 0)
write('virtio_scsi', 'transfers', scsi(
    *READY, (0, 3, 0, 2, 2, 0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 2), (0, 7, 2, 0, 2, 0, 0, 0x2a, 8, 0, 0, 0, 5, 0, 0, 2),
    (0, 0, 0, 8, 2, 2, 3, 0xa8, 0, 0, 0, 0, 2, 0, 0, 0, 2), (0, 0, 0, 0, 0, 0, 0, 0x35), *[COMPLETE] * 4, IDLE))
write('virtio_scsi', 'transfers-16', scsi(
    *READY, (0, 3, 0, 2, 2, 0, 0, 0x88, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2), (0, 0, 1, 0, 2, 0, 0, 0x0a, 0, 0, 9, 1),
    (0, 0, 1, 0, 2, 0, 0, 0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1), *[COMPLETE] * 3, IDLE))
write('virtio_scsi', 'unmap', scsi(
    *READY, (0, 0, 40, 0, 0, 0, 0, 0x42, 0, 0, 0, 0, 0, 0, 0, 40),
    struct.pack('>HH4xQI4xQI10x', 38, 32, 4, 2, 8, 1), COMPLETE, COMPLETE, IDLE))
write('virtio_scsi', 'write-same', scsi(
    *READY, (0, 0, 1, 0, 2, 0, 0, 0x41, 8, 0, 0, 0, 12, 0, 0, 2), bytes(23 * 23),
    (0, 0, 0, 0, 2, 0, 0, 0x93, 9, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1), COMPLETE, COMPLETE, IDLE))
for name, target, lun, commands in (
        ('disk', 0, 0, ((0x12, 0, 0, 0, 36), *((0x12, 1, page, 0, 64) for page in (0, 0x80, 0x83, 0xb0, 0xb1, 0xb2)),
                        (0x25,), (0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32), (0x1a, 0, 0x3f, 0, 64),
                        (0x5a, 0, 8, 0, 0, 0, 0, 0, 64), (0x03, 0, 0, 0, 18), (0x1b, 0, 0, 0, 0), (0x2f, 0, 0, 0, 0, 1, 0, 0, 1),
                        (0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 64))),
        ('disc', 2, 3, ((0x12, 0, 0, 0, 36), (0x43, 0, 0, 0, 0, 0, 0, 0, 20), (0x46, 0, 0, 0, 0, 0, 0, 0, 64),
                        (0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8), (0x51, 0, 0, 0, 0, 0, 0, 0, 34), (0x1b, 0, 0, 0, 2), (0x00,),
                        (0x1b, 0, 0, 0, 3), (0x00,), (0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 64)))):
    write('virtio_scsi', name, scsi(*READY, *((0, 0, 0, 4, 1, target, lun, *command) for command in commands), COMPLETE, IDLE))
write('virtio_scsi', 'tasks', scsi(
    *READY, (0, 0, 1, 0, 2, 0, 4, 0x2a, 0, 0, 0, 0, 0, 0, 0, 1), (1, 0, 0, 1, 0, 0, 0, 0, 6, 1), (1, 0, 0, 1, 0, 0, 0, 0, 0, 1),
    COMPLETE, (5, 0, 0, 0, 0, 0, 0), (1, 0, 0, 1, 0, 0, 0, 0, 5), (1, 0, 24, 5, 8, 0, 0, 2), COMPLETE, RESET))
write('virtio_scsi', 'sizes', scsi(
    (7, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 16), *READY, (0, 3, 0, 2, 2, 0, 0, 0x28, 0, 0, 0, 0, 3, 0, 0, 2), RESET, COMPLETE))


def rings(queues, data):
    # queues: for each, its descriptors and the heads that are available; 0x200 bytes each from 0x1000 on
    result = b''
    for descriptors, heads in queues:
        ring = b''.join(descriptors).ljust(0x100, b'\0')
        ring += struct.pack('<HH16H', 0, len(heads), *(heads + [0] * (16 - len(heads))))
        result += ring.ljust(0x200, b'\0')
    return result.ljust(0x1000, b'\0') + data


def virtio_net(features, frame_size, steps, header, command):
    # struct plan of fuzz_virtio_net.c; a frame's header at 0x2000, a command at 0x2100
    buffers = ([split(0x4000 + 0x800 * i, 0x800, 2, 0) for i in range(16)], list(range(16)))
    frames = ([split(0x2000, 12, 1, 1), split(0x3000, 200, 0, 0)], [0, 0])
    commands = ([split(0x2100, 2, 1, 1), split(0x2102, len(command) - 2, 1, 2), split(0x2200, 1, 2, 0)], [0])
    queues = [buffers, frames, buffers, frames, commands] if features & 4 else [buffers, frames, commands] + [([], [])] * 2
    return struct.pack('<BBH16B', features, 9, frame_size, *(steps + [0] * (16 - len(steps)))) + rings(
        queues, header.ljust(0x100, b'\0') + command)


STEPS = [4, 0, 1, 2, 3, 5, 5 | 8, 1 | 16, 6, 5, 7, 0, 1, 5, 2 | 32, 4 | 0x80]
CHECKSUM = struct.pack('<BBHHHHH', 1, 0, 0, 0, 34, 16, 0)
SEGMENTS = struct.pack('<BBHHHHH', 1, 1, 54, 100, 34, 16, 0)
for features in range(8):
    for name, command in (('mode', bytes([0, 0, 0])), ('mac', bytes([1, 1]) + bytes(6)), ('vlan', b'\2\0\5\0'),
                          ('table', bytes([1, 0, 1, 0, 0, 0, 2, 2, 2, 2, 2, 2]) + bytes(4)),
                          ('pairs', b'\4\0\2\0'), ('offloads', b'\5\0\2' + bytes(7)))[features % 2::2]:
        write('virtio_net', '%s-%u' % (name, features), virtio_net(
            features, 60 if features & 1 else 9000, STEPS, SEGMENTS if features & 1 else CHECKSUM, command))


def virtio_console(steps, messages):
    # struct plan of fuzz_virtio_console.c; messages at 0x2000, bytes at 0x3000, buffers at 0x4000
    buffers = ([split(0x4000 + 0x100 * i, 0x100, 2, 0) for i in range(16)], list(range(16)))
    output = ([split(0x3000, 0x8000, 0, 0)] * 16, list(range(16)))
    commands = ([split(0x2000 + 8 * i, 8, 0, 0) for i in range(16)], list(range(16)))
    return bytes(steps + [0] * (24 - len(steps))) + rings(
        [buffers, output, buffers, commands, buffers, output],
        b''.join(struct.pack('<IHH', *message) for message in messages).ljust(0x80, b'\0'))


READY = [(0, 0, 1), (0, 3, 1), (0, 6, 1), (1, 3, 1), (1, 6, 1), (0, 6, 0), (1, 6, 0), (9, 3, 1)]
for name, steps in (('talk', [3, 3, 3, 3, 3, 2, 2, 2, 2, 6, 14, 2, 2, 0, 4, 6, 14, 1, 5, 0, 4, 22, 30]),
                    ('stop', [3, 3, 3, 6, 1, 1, 1, 1, 1, 7, 1, 1, 15, 3, 2, 2, 6, 22, 6, 0, 1, 15]),
                    ('close', [6, 6, 14, 3, 3, 3, 3, 3, 0, 3, 22, 3, 30, 2, 2, 2, 2, 2, 2, 2])):
    write('virtio_console', name, virtio_console(steps, READY))


def mbr_entry(kind, first, count):
    return struct.pack('<4xB3xII', kind, first, count)


def mbr(*entries):
    return (bytes(446) + b''.join(entries)).ljust(510, b'\0') + b'\x55\xaa'


def gpt(*entries):
    header = struct.pack('<8sIIIIQQQQ16xQIII', b'EFI PART', 0x10000, 92, 0, 0, 1, 7, 2, 6, 2, 8, 128, 0)
    table = b''.join(struct.pack('<32sQQQ72x', b'\1' * 32, first, last, 0) for first, last in entries)
    return mbr(mbr_entry(0xee, 1, 7)) + header.ljust(512, b'\0') + table.ljust(3072, b'\0')


write('partition', 'mbr', mbr(mbr_entry(0x83, 1, 2), mbr_entry(5, 1, 3)) +
      mbr(mbr_entry(0x83, 1, 1), mbr_entry(5, 1, 1)) + mbr(mbr_entry(0x83, 1, 1)) + bytes(1024))
write('partition', 'gpt', gpt((2, 3), (4, 4)))
GRUB = b'''set default="${saved_entry}"
set default="1>b"
function f {
  true; }
menuentry 'a' --class x $menuentry_id_option 'i' {
  linux /k root="x y" $z
  initrd /i (hd0)/j
}
submenu "c" {
  menuentry 'b' { linux ($root)/k2 \\
   ro # comment
  }
}
'''
write('grub_config', 'menu', b'\x10saved_entry=1>0\n' + GRUB)
write('grub_config', 'plain', b'\0menuentry a{\n{\nlinux /k\n}\n}\n')


def virtio_pci(*steps):
    # struct step of fuzz_virtio_pci.c: action, log2 of the size, offset, value
    return b''.join(struct.pack('<BBHI', *step) for step in steps)


(COMMON_WRITE, REGISTER_WRITE, REGISTER_READ, CONFIG_WRITE, CONFIG_READ, DOORBELL, RAM_WRITE, WORKER, IO_THREAD,
 COMPLETE, KEEP, CONFIG_CHANGED, STOP_AND_GO, SAVE_AND_LOAD, MACHINE_RESET, READY) = range(16)


def request(queue, index):
    # a descriptor that the device may write, and the available index
    base = 0x1000 * (queue + 1)
    return [(RAM_WRITE, 2, base, 0x8000), (RAM_WRITE, 2, base + 8, 64), (RAM_WRITE, 2, base + 12, 2),
            (RAM_WRITE, 1, base + 0x102, index), (DOORBELL, 1, 4 * queue, queue), (WORKER, 0, 0, 0),
            (IO_THREAD, 0, 0, 0)]


reset = [(COMMON_WRITE, 0, 20, 0), (WORKER, 0, 0, 0), (IO_THREAD, 0, 0, 0)]
ready = [(READY, 0, 0, 0), (WORKER, 0, 0, 0)]
packed_request = [(RAM_WRITE, 2, 0x1000, 0x8000), (RAM_WRITE, 2, 0x1008, 64), (RAM_WRITE, 2, 0x100c, 0x820000),
                  (DOORBELL, 1, 0, 0), (WORKER, 0, 0, 0), (IO_THREAD, 0, 0, 0)]
write('virtio_pci', 'requests', virtio_pci(*ready, *request(0, 1), *request(2, 1), *request(0, 2),
                                           (REGISTER_READ, 0, 0x100, 0), *reset))
write('virtio_pci', 'packed', virtio_pci((READY, 0, 0, 3), (WORKER, 0, 0, 0), *packed_request, *reset))
write('virtio_pci', 'in-flight', virtio_pci(*ready, (KEEP, 0, 0, 1), *request(0, 1), *reset, (COMPLETE, 0, 0, 0),
                                            (IO_THREAD, 0, 0, 0), *ready))
write('virtio_pci', 'broken', virtio_pci(*ready, (RAM_WRITE, 1, 0x1102, 99), (DOORBELL, 1, 0, 0),
                                         (WORKER, 0, 0, 0), (IO_THREAD, 0, 0, 0), *reset))
write('virtio_pci', 'stop', virtio_pci(*ready, *request(0, 1), (STOP_AND_GO, 0, 0, 0), (WORKER, 0, 0, 0),
                                       *request(0, 2), (MACHINE_RESET, 0, 0, 0)))
write('virtio_pci', 'saved', virtio_pci(*ready, *request(0, 1), (SAVE_AND_LOAD, 0, 0, 0), (WORKER, 0, 0, 0),
                                        *request(0, 2), (SAVE_AND_LOAD, 1, 200, 5)))
write('virtio_pci', 'configuration', virtio_pci((CONFIG_WRITE, 1, 4, 6), (CONFIG_CHANGED, 0, 0, 0),
                                                *((CONFIG_READ, 2, at, 0) for at in range(64, 256, 4)),
                                                (CONFIG_WRITE, 0, 0xe0, 4), (CONFIG_WRITE, 2, 0xec, 0)))


def switch_frame(step, size, header, start):
    return struct.pack('<BHB', step, size, len(start)) + header + b'\2' + start[1:]


def stream_pieces(room, *pieces):
    return bytes([room]) + b''.join(bytes([len(piece)]) + piece for piece in pieces)


def stream_frame(size):
    return struct.pack('>I', size) + bytes(size)


write('net_stream', 'frames', stream_pieces(255, stream_frame(60), stream_frame(13) + stream_frame(100), b'\0\0'))
write('net_stream', 'split', stream_pieces(8, stream_frame(200)[:7], stream_frame(200)[7:] + b'\0\0\0'))
write('net_stream', 'wrong', stream_pieces(4, stream_frame(20), b'\xff\xff\xff\xff', stream_frame(14)))


ETHERNET = bytes(6) + b'\2\0\0\0\0\1' + b'\x08\0'
TCP4 = ETHERNET + bytes.fromhex('4500138c00000000400600000a0000010a000002') + bytes(12) + b'\x50\x18' + bytes(6)
LARGE = struct.pack('<BBHHHHH', 1, 1, 54, 1000, 34, 16, 0)
for name, card in (('takes', b'\5\xff\2\xff\xff'), ('cut', b'\5\0\0\xff\xff'), ('small', b'\x85\0\0\xff\0')):
    write('net_switch', name, card + switch_frame(0x82, 5000 - 14 + 26, LARGE, TCP4) + switch_frame(
        0x83, 60, bytes(12), ETHERNET) + b'\x84' + struct.pack('<H', 58000) + b'\2\0\0\0\0\1' + b'\x80\0\x10\0\1\0'
        + b'\x81\0\0\0\4\xff\xff\0\0')


def pci_steps(*steps):
    # struct step of fuzz_pci.c: action, choice, offset, value
    return b''.join(struct.pack('<BBHI', *step) for step in steps)


READ, WRITE, PORT_READ, PORT_WRITE, MAPPED_READ, MAPPED_WRITE, PLACE, NOTIFY, PIN, RESET, SAVE, CHANGE = range(12)
# `choice` is the function's number modulo 6, and has the size in two of its bits: a doubleword of function 1, and of a
# port and what is behind it. With 0x80 placing a BAR enables it, with 0x40 its port passes everything on.
DOUBLEWORD, OF_PORT, BEHIND = 25, 8, 9
PCI_BEGIN = [(PLACE, 0x85, bar, place) for bar, place in ((0, 5), (1, 12), (4, 6))]
PCI_BEHIND = [(PLACE, 0xc3, bar, place) for bar, place in ((0, 5), (1, 12), (4, 6))]
write('pci', 'sizes', pci_steps(*[(WRITE, DOUBLEWORD, 0x10 + 4 * i, 0xffffffff) for i in range(6)],
                                *[(READ, DOUBLEWORD, 0x10 + 4 * i, 0) for i in range(6)]))
write('pci', 'moves', pci_steps(*PCI_BEGIN, *[(PLACE, 0x85, 0, i) for i in range(14)],
                                *[(PLACE, 0xc3, 0, i) for i in range(14)], (SAVE, 0, 0, 0)))
# Power management at 0x40, MSI-X at 0x48, MSI at 0x54, PCI Express at 0x64.
write('pci', 'msix', pci_steps(*PCI_BEGIN, (WRITE, DOUBLEWORD, 0x48, 0x80000000), (NOTIFY, 1, 0, 0), (SAVE, 0, 0, 0),
                               *[(MAPPED_WRITE, i << 4 | 8, 12, 0) for i in range(4)], (NOTIFY, 1, 0, 0)))
write('pci', 'msi', pci_steps(*PCI_BEGIN, (WRITE, DOUBLEWORD, 0x58, 0xfee00000), (WRITE, DOUBLEWORD, 0x54, 0x10000),
                              (NOTIFY, 1, 0, 0), (SAVE, 0, 0, 0)))
write('pci', 'resets', pci_steps(*PCI_BEGIN, (PIN, 1, 0, 1), (WRITE, DOUBLEWORD, 0x44, 3), (WRITE, DOUBLEWORD, 0x44, 0),
                                 *PCI_BEGIN, (PIN, 1, 0, 1), (WRITE, DOUBLEWORD, 0x6c, 0x8000), (RESET, 0, 0, 1)))
write('pci', 'behind', pci_steps(*PCI_BEHIND, (WRITE, BEHIND, 0x48, 0x80000000), (NOTIFY, 3, 0, 0), (PIN, 3, 0, 1),
                                 (WRITE, OF_PORT, 0x18, 0x050500), (SAVE, 0, 0, 0), (WRITE, OF_PORT, 4, 2),
                                 *[(MAPPED_WRITE, i << 4 | 8, 12, 0) for i in range(4)], (NOTIFY, 3, 0, 0)))
write('pci', 'hot-reset', pci_steps(*PCI_BEHIND, (PIN, 3, 0, 1), (WRITE, OF_PORT, 0x3c, 0x400000), (SAVE, 0, 0, 0),
                                    (READ, BEHIND, 0, 0), (WRITE, OF_PORT, 0x3c, 0), *PCI_BEHIND, (RESET, 0, 0, 1)))
write('pci', 'ports', pci_steps(*[(PORT_WRITE, i << 4 | 8, 0, 0x80000810) for i in range(4)],
                                *[(PORT_READ, i << 4 | 8, 0, 0) for i in range(4)], (CHANGE, 0, 300, 1)))


# fuzz_e1000.c: steps of action, choice, offset, value. Frames with checksums and segments, frames that come.
E1000 = (1, 2, 3, 4, 5, 6, 7, 9)
(E_WRITE, E_RINGS, E_MEMORY, E_DESCRIPTOR, E_FRAME, E_ROOM, E_TIME, E_SAVE) = E1000
TDT, RDT, EECD, MDIC = 18, 14, 1, 3


def e1000(*steps):
    return b''.join(struct.pack('<BBHI', *step) if isinstance(step, tuple) else step for step in steps)


write('e1000', 'legacy', e1000((E_RINGS, 0, 0, 0), (E_DESCRIPTOR, 0, 0x800, 0x09000000 | 100), (E_WRITE, 0, TDT, 1),
                               (E_DESCRIPTOR, 1, 0x800, 0x0d1e0000 | 100), (E_ROOM, 0, 0, 0), (E_WRITE, 0, TDT, 2),
                               (E_ROOM, 0, 0, 1), (E_SAVE, 0, 40, 1)))
write('e1000', 'segments', e1000((E_RINGS, 0, 0, 0), (E_MEMORY, 64, 0x800, 0), bytes.fromhex(
    '52550a0002025254001234560800450000000001400040060000'
    '0a00020f0a00020204000050000000010000000250181000000000000000'), (E_DESCRIPTOR, 0, 0x180e, 0x27000000), (E_MEMORY, 16, 0, 0), struct.pack(
        '<QII', 14 | 24 << 8 | 33 << 16 | 34 << 32 | 50 << 40, 0x27000000 | 1000, 500 << 16 | 54 << 8),
    (E_MEMORY, 16, 16, 0), struct.pack('<QII', 0x800, 0x2d100000 | 2000, 0x300), (E_WRITE, 0, TDT, 2),
    (E_ROOM, 0, 0, 3), (E_WRITE, 0, TDT, 0)))
write('e1000', 'receive', e1000((E_RINGS, 0, 0, 0), (E_FRAME, 0, 0, 200), (E_RINGS, 0, 0, 0x02020020),
                                (E_FRAME, 0, 0, 9000), (E_WRITE, 0, RDT, 3), (E_FRAME, 0, 0, 60000), (E_TIME, 0, 0, 9999)))
write('e1000', 'eeprom', e1000(*[(E_WRITE, 0, EECD, 0x42 | bit << 2 | clock) for bit in (1, 1, 0, 0, 0, 0, 0, 0, 1)
                                 for clock in (0, 1)], (0, 2, 0x10, 0), (E_WRITE, 0, MDIC, 0x08220000),
                               (E_WRITE, 0, MDIC, 0x04209140)))


# fuzz_fw_cfg.c: steps of action, access size, offset, value. Selecting by port, a DMA struct (control, length,
# address) and its start, a saved state.
def fw_cfg(*steps):
    return b''.join(struct.pack('<BBHI', *step) for step in steps)


def big(value):
    return struct.unpack('<I', struct.pack('>I', value))[0]


for key in (0x19, 0x20, 0x21, 0x22):
    for control in (2, 4, 16):
        write('fw_cfg', '%x-%u' % (key, control), fw_cfg(
            (2, 0, key, 0), (0, 0, 1, 0), (0, 0, 1, 0), (3, 0, 0, big(key << 16 | 8 | control)), (3, 0, 4, big(30)),
            (3, 0, 12, big(0x1000)), (4, 0, 0, 0), (3, 0, 0, big(control)), (4, 0, 0, 0), (6, 0, 0, 0), (0, 0, 1, 0),
            (6, 1, 17, key), (5, 0, 0, 0)))


# fuzz_flash.c: steps of action, value, offset: store 0, load 1, reset 2, save 3.
def flash(*steps):
    return b''.join(struct.pack('<BBH', *step) for step in steps)


write('flash', 'program', flash((0, 0x40, 9), (0, 0x12, 9), (1, 0, 9), (0, 0xff, 9), (0, 0x40, 0x2009), (0, 0, 0x2009)))
write('flash', 'erase', flash((0, 0x20, 0), (0, 0xd0, 0), (3, 0, 0), (0, 0xff, 0), (0, 0x60, 0), (0, 1, 0), (0, 0x20, 0)))
write('flash', 'buffer', flash((0, 0xe8, 0xfff), (0, 1, 0), (0, 7, 0xfff), (3, 0, 0), (0x83, 0xff, 30), (0, 8, 0x1000),
                               (0, 0xd0, 0), (0, 0x98, 0), (0x81, 0, 0x10), (2, 0, 0)))

# fuzz_qemu.c: a command line of QEMU's.
for name, line in [
    ('kernel', '-nodefaults|-m|size=1G|-smp|cpus=2,cores=2|-cpu|qemu64,+avx,x2apic=off|-append|x'),
    ('drive', '-drive|file=a,,b,if=none,id=d,cache=none,snapshot=on|-device|virtio-blk-pci,drive=d,serial=S'),
    ('blockdev', '-blockdev|{"driver":"qcow2","node-name":"d","file":{"driver":"file","filename":"x"}}'
                 '|-device|{"driver":"ide-hd","drive":"d"}|-M|q35'),
    ('net', '-netdev|user,id=n,hostfwd=::2222-:22,restrict=on|-device|e1000,netdev=n,mac=52:54:00:12:34:56'),
    ('legacy', '-net|nic,model=virtio|-net|user|-hda|x|-boot|order=dc,menu=on|-vnc|:1'),
    ('char', '-chardev|socket,id=c,path=/x,server=on,wait=off|-mon|c,mode=control|-serial|mon:stdio'),
    ('port', '-device|isa-debug-exit,iobase=0xf4|-serial|unix:/x,server,nowait|-fw_cfg|name=opt/x,string=y'),
]:
    write('qemu', name, line.replace('|', '\0').encode())

# fuzz_words.c: which parser, and the option's value.
for number, (name, value) in enumerate((
        ('disk', 'a,,b.img,readonly,serial=S,offset=1M,size=4K,format=raw,cache=none,share=on,io=threads,reconnect=9'),
        ('net', 'user,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp::53-10.0.2.15:53,restrict=on,tftp=/srv,bootfile=b,'
                'hostname=h,domainname=d,dnssearch=s,mac=52:54:00:12:34:56'),
        ('forward', 'tcp:127.0.0.1:2222-10.0.2.15:22'),
        ('console', 'name=org.example.port,path=/tmp/socket'),
        ('smbios', 'type=1,manufacturer=m,uuid=01234567-89ab-cdef-0123-456789abcdef,serial=s,,t'),
        ('credential', 'passwd.hashed-password.root=$y$j9T$x'))):
    write('words', name, bytes([number]) + value.encode())
for name, value in (('tap', 'tap=tap0,queues=4,port'), ('switch', 'switch=/tmp/s'), ('none', 'none')):
    write('words', name, b'\1' + value.encode())
for name, value in (('type0', 'type=0,vendor=v,version=1,date=01/02/2026'), ('type11', 'type=11,value=x=y')):
    write('words', name, b'\4' + value.encode())
write('ide', 'commands', ide())
write('ahci', 'commands', ahci())
write('floppy', 'commands', floppy())


def p9(first, *messages):
    # Messages of fuzz_p9.c: type, format of its fields, fields; 's' is a string
    def string(text):
        return struct.pack('<H', len(text)) + text

    data = bytes([first])
    for kind, layout, *fields in ((100, 'Is', 8192, b'9P2000.L'), (104, 'IIssI', 0, 0xffffffff, b'', b'', 0)) + messages:
        body = b''.join(string(field) if form == 's' else struct.pack('<' + form, field)
                        for form, field in zip(layout, fields))
        message = struct.pack('<IBH', 7 + len(body), kind, 1) + body
        data += struct.pack('<H', len(message)) + message
    return data


P9_FILE = ((110, 'IIHss', 0, 1, 2, b'd', b'file'), (12, 'II', 1, 2), (118, 'IQIBBB', 1, 0, 3, 1, 2, 3), (116, 'IQI', 1, 0, 64),
           (24, 'IQ', 1, 0x7ff), (26, 'IIIIIQQQQQ', 1, 0x1ff, 0o600, 0, 0, 2, 1, 0, 2, 0), (52, 'IBIQQIs', 1, 1, 0, 0, 1, 1, b'x'),
           (54, 'IBQQIs', 1, 1, 0, 1, 1, b'x'), (50, 'II', 1, 0), (120, 'I', 1))
P9_NAMES = ((110, 'IIHs', 0, 1, 1, b'd'), (72, 'IsII', 1, b'n', 0o755, 0), (18, 'IsIIII', 1, b'm', 0o10600, 0, 0, 0),
            (16, 'IssI', 1, b'l', b'..', 0), (110, 'IIHs', 1, 2, 1, b'l'), (22, 'I', 2), (70, 'IIs', 1, 2, b'h'),
            (74, 'IsIs', 1, b'n', 0, b'o'), (20, 'IIs', 2, 0, b'p'), (76, 'IsI', 1, b'm', 0), (76, 'IsI', 0, b'o', 0x200),
            (122, 'I', 2), (110, 'IIH', 1, 3, 0), (14, 'IsIII', 3, b'c', 2, 0o644, 0), (12, 'II', 1, 0), (40, 'IQI', 1, 0, 4096),
            (8, 'I', 1), (108, 'H', 1), (102, 'I', 1), (110, 'IIHss', 0, 4, 2, b'..', b'up'))
P9_XATTR = ((110, 'IIHss', 0, 1, 2, b'd', b'file'), (32, 'IsQI', 1, b'user.a', 3, 0), (118, 'IQIBBB', 1, 0, 3, 1, 2, 3), (120, 'I', 1),
            (110, 'IIHss', 0, 1, 2, b'd', b'file'), (30, 'IIs', 1, 2, b'user.a'), (116, 'IQI', 2, 0, 64), (30, 'IIs', 1, 3, b''))
write('p9', 'file', p9(0, *P9_FILE))
write('p9', 'names', p9(0, *P9_NAMES))
write('p9', 'mapped', p9(1, *P9_NAMES))
write('p9', 'xattr', p9(1, *P9_XATTR))
write('p9', 'read-only', p9(2, *P9_NAMES, *P9_FILE))


def nvme():
    """Admin commands; reads and writes by pages and lists; a save, a deletion, a stop."""
    steps = [(3, 0x06, 0), (3, 0x0a, 6), (3, 0x09, 7), (3, 0x0c, 1), (4, 0x02, 5), (4, 0x12, 9), (4, 0x01, 3),
             (4, 0x00, 0), (4, 0x08, 20), (4, 0x09, 0), (6, 0, 1), (9, 4, 8), (2, 0, 99), (6, 0, 0), (3, 0x00, 1),
             (7, 0, 0), (9, 1, 0)]
    return b''.join(struct.pack('<BBH', *step) for step in steps)


write('nvme', 'commands', nvme())
# CC.EN = 0, and a save before the I/O thread knows that the queues are gone.
write('nvme', 'stopped', storage_step(1, 5, 0) + storage_step(6, 0, 0) + storage_step(7, 0, 0) + storage_step(9, 1, 0))


def vga(*steps):
    return b''.join(struct.pack('<BBHI', *step) for step in steps)


PORT_WRITE, INDEXED_WRITE, VBE_WRITE, WINDOW_WRITE, VIDEO_WRITE, PLACE_BAR, DRAW, READ_TEXT, PASS_TIME, LOAD_CHANGED = (
    1, 2, 3, 5, 8, 9, 10, 11, 12, 13)
SEQUENCER, GRAPHICS, CRTC = 0, 1, 2
write('vga', 'text', vga((WINDOW_WRITE, 5, 0x8000, 0x07410742), (READ_TEXT, 0, 0, 0), (INDEXED_WRITE, 14, CRTC, 1),
                         (PASS_TIME, 0, 0, 100_000_000), (DRAW, 0, 0, 0), (LOAD_CHANGED, 0, 100, 0x1234)))
write('vga', 'planar', vga((INDEXED_WRITE, 6, GRAPHICS, 5), (INDEXED_WRITE, 4, SEQUENCER, 6), (INDEXED_WRITE, 2, SEQUENCER, 15),
                           (INDEXED_WRITE, 5, GRAPHICS, 2), (WINDOW_WRITE, 2, 0x100, 0xa5), (INDEXED_WRITE, 5, GRAPHICS, 1),
                           (4, 2, 0x100, 0), (WINDOW_WRITE, 2, 0x200, 0), (PORT_WRITE, 0, 0x10, 0x20), (DRAW, 0, 0, 0)))
write('vga', 'vbe', vga((VBE_WRITE, 4, 0, 0), (VBE_WRITE, 1, 0, 1024), (VBE_WRITE, 2, 0, 768), (VBE_WRITE, 3, 0, 32),
                        (VBE_WRITE, 4, 0, 0x41), (VIDEO_WRITE, 2, 0, 4096), (DRAW, 0, 0, 0), (PLACE_BAR, 3, 0, 5),
                        (VIDEO_WRITE, 2, 0, 8192), (DRAW, 0, 0, 0), (VBE_WRITE, 9, 0, 16), (DRAW, 0, 0, 0)))
