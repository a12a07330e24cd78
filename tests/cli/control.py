#!/usr/bin/env python3
"""Checks the control socket: what clients are told, what stop and cont do to a guest, hostile clients,
the socket's file, and the subcommands that are clients of it. Speaks TAP.

    control.py VENEER BUILD-DIR
"""
import json
import os
import re
import resource
import select
import signal
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time

veneer, build = sys.argv[1], sys.argv[2]
kernels = os.path.join(build, 'tests', 'cli')
guests = os.path.join(build, 'guests', 'kernels')
work = tempfile.TemporaryDirectory()
path = os.path.join(work.name, 'socket')
count = failures = 0
PM_TIMER_HZ = 3579545


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
        raise AssertionError(f'got {got}, expected {want}')


class Machine:
    """A machine with a control socket. Ends with the `with` statement."""

    def __init__(self, kernel, *arguments, read=True):
        image = kernel if '/' in kernel else os.path.join(kernels, kernel)
        memory = () if '--memory' in arguments else ('--memory', '16M')
        self.process = subprocess.Popen(
            [veneer, 'run', '--kernel', image, '--control', path, *memory, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.output = b''
        end = time.monotonic() + 30
        while not os.path.exists(path) and self.process.poll() is None:
            if time.monotonic() > end:
                raise AssertionError('no socket')
            time.sleep(0.01)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        if os.path.exists(path):
            os.unlink(path)

    def read(self, seconds):
        """What the guest prints within so many seconds."""
        end = time.monotonic() + seconds
        fresh = b''
        while (left := end - time.monotonic()) > 0:
            if select.select([self.process.stdout], [], [], left)[0]:
                piece = os.read(self.process.stdout.fileno(), 65536)
                if not piece:
                    break
                fresh += piece
        self.output += fresh
        return fresh

    def ticks(self):
        """(TSC >> 20, ACPI timer) of each whole line so far."""
        return [tuple(int(word, 16) for word in line.split())
                for line in re.findall(rb'^[0-9a-f]{8} [0-9a-f]{8}$', self.output, re.M)]

    def finish(self, seconds=30):
        return self.process.wait(seconds)


def until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError('it does not come')
        time.sleep(0.02)


class Client:
    def __init__(self, negotiate=True, at=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        end = time.monotonic() + 10
        while True:
            try:
                self.socket.connect(at or path)
                break
            except ConnectionRefusedError:  # bound, and not listening yet
                if time.monotonic() > end:
                    raise
        self.file = self.socket.makefile('rb')
        self.events = []
        self.greeting = self.line()
        if negotiate:
            same(self.execute('qmp_capabilities'), {'return': {}})

    def line(self):
        text = self.file.readline()
        if not text:
            raise EOFError('the connection was closed')
        return json.loads(text)

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def reply(self):
        while 'event' in (answer := self.line()):
            self.events.append(answer)
        return answer

    def execute(self, command, **more):
        self.send(json.dumps({'execute': command, **more}) + '\n')
        return self.reply()

    def event(self, name):
        """The next event, which must be of that name."""
        event = self.events.pop(0) if self.events else self.line()
        same(event.get('event'), name)
        same(set(event) - {'data'}, {'event', 'timestamp'})
        same(set(event['timestamp']), {'seconds', 'microseconds'})
        if abs(event['timestamp']['seconds'] - time.time()) > 60:
            raise AssertionError(f'time stamp {event["timestamp"]}')
        return event.get('data')

    def close(self):
        self.file.close()
        self.socket.close()


def cpu_seconds(machine):
    with open(f'/proc/{machine.process.pid}/stat') as file:
        fields = file.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def error(answer, kind='GenericError'):
    same(answer['error']['class'], kind)
    if not isinstance(answer['error']['desc'], str):
        raise AssertionError(answer)
    return answer['error']['desc']


engines = [engine for engine in ('interp', 'bt') if f'\n  {engine} ' in
           subprocess.run([veneer, 'run', '--help'], capture_output=True, text=True).stdout]

# --- the protocol ---


@check('greeting and negotiation')
def _():
    with Machine('spin'):
        client = Client(negotiate=False)
        same(set(client.greeting), {'QMP'})
        same(set(client.greeting['QMP']), {'version', 'capabilities'})
        same(set(client.greeting['QMP']['version']['qemu']), {'major', 'minor', 'micro'})
        error(client.execute('query-status'), 'CommandNotFound')
        error(client.execute('stop'), 'CommandNotFound')
        error(client.execute('qmp_capabilities', arguments={'enable': ['oob']}))
        same(client.execute('qmp_capabilities', arguments={'enable': []}), {'return': {}})
        error(client.execute('qmp_capabilities'), 'CommandNotFound')
        same(client.execute('query-status'), {'return': {'running': True, 'singlestep': False, 'status': 'running'}})
        same(client.execute('query-version')['return'], client.greeting['QMP']['version'])
        names = {row['name'] for row in client.execute('query-commands')['return']}
        same(names >= {'qmp_capabilities', 'query-status', 'stop', 'cont', 'quit', 'send-key'}, True)


@check('every query is answered as the schema says')
def _():
    with Machine('spin', '--cpus', '2'):
        client = Client()
        schema = {row['name']: row for row in client.execute('query-qmp-schema')['return']}
        kinds = {'string': str, 'int': int, 'number': (int, float), 'boolean': bool,
                 'value': object, 'null': type(None)}

        def fits(value, name):
            kind = schema[name]
            if kind['meta-type'] == 'builtin':
                same(isinstance(value, kinds[kind['json-type']]), True)
            elif kind['meta-type'] == 'array':
                for element in value:
                    fits(element, kind['element-type'])
            elif kind['meta-type'] == 'enum':
                same(value in kind['values'], True)
            elif name != 'SchemaInfo':
                members = {member['name']: member for member in kind['members']}
                same(set(value) - set(members), set())
                for member in members.values():
                    if member['name'] in value or 'default' not in member:
                        fits(value[member['name']], member['type'])

        expansion = {'type': 'full', 'model': {'name': 'max'}}
        arguments = {'query-cpu-model-expansion': expansion,
                     'device-list-properties': {'typename': 'virtio-blk-pci'},
                     'qom-list-properties': {'typename': 'iothread'},
                     'qom-list': {'path': '/machine/unattached'},
                     'qom-get': {'path': '/machine', 'property': 'type'}}
        commands = [name for name, row in schema.items() if row['meta-type'] == 'command']
        same({row['name'] for row in client.execute('query-commands')['return']}, set(commands))
        for name in commands:
            if name.startswith(('query-', 'qom-', 'device-list')):
                answer = client.execute(name, arguments=arguments.get(name, {}))
                try:
                    fits(answer['return'], schema[name]['ret-type'])
                except Exception as failure:
                    raise AssertionError(f'{name}: {answer}: {failure!r}') from failure
        for name in ('host', 'base', 'qemu64', 'Haswell', 'EPYC'):
            full = {'type': 'full', 'model': {'name': name, 'props': {'nx': False, 'fly': True}}}
            props = client.execute('query-cpu-model-expansion', arguments=full)['return']['model']['props']
            same((props['nx'], 'fly' in props), (False, False))
        models = {row['name']: row for row in client.execute('query-cpu-definitions')['return']}
        same({'max', 'host', 'qemu64', 'Nehalem', 'EPYC-Milan'} - set(models), set())
        same((models['base']['static'], models['host']['static']), (True, False))
        same(models['host']['unavailable-features'], [])
        # What a model has and the host has not is what the machine would not have.
        host = client.execute('query-cpu-model-expansion',
                              arguments={'type': 'full', 'model': {'name': 'host'}})
        host = host['return']['model']['props']
        same([(name, feature) for name, row in models.items()
              for feature in row['unavailable-features'] if host[feature]], [])
        events = {'capabilities': [{'capability': 'events', 'state': True}]}
        same(client.execute('migrate-set-capabilities', arguments=events), {'return': {}})
        same(client.execute('query-migrate-capabilities')['return'],
             [{'capability': 'events', 'state': True}])
        error(client.execute('migrate-set-capabilities', arguments={
            'capabilities': [{'capability': 'fly', 'state': True}]}))
        props = client.execute('query-cpu-model-expansion', arguments=expansion)
        same(props['return']['model']['props']['nx'], True)
        error(client.execute('device-list-properties', arguments={'typename': 'fly'}),
              'DeviceNotFound')
        error(client.execute('qom-list', arguments={'path': '/fly'}), 'DeviceNotFound')
        same(client.execute('qom-list', arguments={'path': '//machine//unattached/'}),
             client.execute('qom-list', arguments={'path': '/machine/unattached'}))
        error(client.execute('qom-list', arguments={'path': '/' + 'a/' * 500}), 'DeviceNotFound')
        error(client.execute('qom-get', arguments={'path': '/machine/vga', 'property': 'type'}), 'DeviceNotFound')
        same(client.execute('query-vnc'), {'return': {'enabled': False}})
        error(client.execute('query-cpu-model-expansion',
                             arguments={'type': 'full', 'model': {'name': 'fly'}}))


@check('each processor has a thread of its own, which clients can find')
def _():
    with Machine('spin', '--cpus', '3') as machine:
        client = Client()
        for _ in range(2):
            threads = [row['thread-id'] for row in client.execute('query-cpus-fast')['return']]
            same(len(set(threads)), 3)
            for i, thread in enumerate(threads):
                with open(f'/proc/{machine.process.pid}/task/{thread}/comm', encoding='ascii') as name:
                    same(name.read(), f'vcpu{i}\n')
            client.execute('system_reset')
            client.event('RESET')


@check('requests to disks are counted')
def _():
    with tempfile.NamedTemporaryFile(dir=work.name) as image:
        image.truncate(1 << 20)
        with Machine('spin', '--disk', image.name + ',format=raw'):
            row, = Client().execute('query-blockstats')['return']
            same((row['stats']['rd_bytes'], row['stats']['wr_operations']), (0, 0))
            same(row['device'] == row.get('node-name'), False)


@check('objects come and go')
def _():
    with Machine('spin'):
        client = Client()
        thread = {'qom-type': 'iothread', 'id': 'io'}
        same(client.execute('object-add', arguments=thread), {'return': {}})
        error(client.execute('object-add', arguments=thread))
        error(client.execute('object-add', arguments={**thread, 'id': 'other', 'fly': 1}))
        error(client.execute('object-add', arguments={**thread, 'id': 'a/b'}))
        error(client.execute('object-add', arguments={'qom-type': 'fly', 'id': 'x'}))
        same([row['id'] for row in client.execute('query-iothreads')['return']], ['io'])
        same(client.execute('qom-get', arguments={'path': '/objects/io', 'property': 'type'}),
             {'return': 'iothread'})
        same(client.execute('object-del', arguments={'id': 'io'}), {'return': {}})
        error(client.execute('object-del', arguments={'id': 'io'}))


@check('descriptors are handed over, and closed')
def _():
    with Machine('spin') as machine:
        client = Client()

        def count():
            return len(os.listdir(f'/proc/{machine.process.pid}/fd'))

        def send(command, arguments, fds):
            text = json.dumps({'execute': command, 'arguments': arguments}).encode()
            socket.send_fds(client.socket, [text], fds)
            return client.reply()

        before = count()
        error(client.execute('getfd', arguments={'fdname': 'a'}))
        with open('/dev/null') as file:
            same(send('getfd', {'fdname': 'a'}, [file.fileno()]), {'return': {}})
            same(send('getfd', {'fdname': 'a'}, [file.fileno()]), {'return': {}})
            error(send('getfd', {'fdname': 'b' * 500}, [file.fileno()]))
            same(count(), before + 1)
            same(client.execute('closefd', arguments={'fdname': 'a'}), {'return': {}})
            error(client.execute('closefd', arguments={'fdname': 'a'}))
            first = send('add-fd', {'opaque': 'mine'}, [file.fileno()])['return']
            second = send('add-fd', {'fdset-id': 7}, [file.fileno()])['return']
            same((first['fdset-id'], second['fdset-id']), (0, 7))
            same(client.execute('query-fdsets')['return'],
                 [{'fdset-id': 0, 'fds': [{'fd': first['fd'], 'opaque': 'mine'}]},
                  {'fdset-id': 7, 'fds': [{'fd': second['fd']}]}])
            error(client.execute('remove-fd', arguments={'fdset-id': 7, 'fd': first['fd']}))
            for number in 0, 7:
                same(client.execute('remove-fd', arguments={'fdset-id': number}), {'return': {}})
            same(count(), before)
            # Whoever sends descriptors that no command wants loses them, and no others.
            for _ in range(20):
                send('query-status', {}, [file.fileno()] * 50)
            same(count() <= before + 8, True)
            client.close()
            until(lambda: count() < before)


@check('a dump of memory and registers is an ELF core file')
def _():
    with Machine('tick', '--cpus', '2') as machine:
        client = Client()
        core = os.path.join(work.name, 'core')
        good = {'paging': False, 'protocol': 'file:' + core}
        for bad in ({'paging': True}, {'protocol': core}, {'protocol': 'fd:none'}, {'detach': True},
                    {'protocol': 'file:' + work.name}, {'format': 'kdump-zlib'}):
            error(client.execute('dump-guest-memory', arguments={**good, **bad}))
        same(client.execute('dump-guest-memory', arguments=good), {'return': {}})
        same(client.events, [])
        with open(core, 'rb') as file:
            bytes_ = file.read()
        same(os.stat(core).st_blocks * 512 < 4 << 20, True)  # memory that is not used takes none
        same((bytes_[:4], bytes_[4], bytes_[5]), (b'\x7fELF', 2, 1))
        kind, arch = struct.unpack_from('<HH', bytes_, 16)
        start, = struct.unpack_from('<Q', bytes_, 32)
        size, count = struct.unpack_from('<HH', bytes_, 54)
        same((kind, arch, size), (4, 62, 56))
        segments = [struct.unpack_from('<IIQQQQQQ', bytes_, start + i * size) for i in range(count)]
        same([segment[0] for segment in segments], [4] + [1] * (count - 1))
        for _, _, offset, _, where, length, _, _ in segments[1:]:
            if where <= 0x100000 < where + length:
                same(bytes_[offset + 0x100000 - where:][:4], b'\x02\xb0\xad\x1b')
        same(max(segment[2] + segment[5] for segment in segments), len(bytes_))
        at, end, notes = segments[0][2], segments[0][2] + segments[0][5], []
        while at < end:
            name, length, kind = struct.unpack_from('<III', bytes_, at)
            notes.append((bytes_[at + 12:][:name - 1], kind, at + 12 + (name + 3) // 4 * 4))
            at = notes[-1][2] + length
        same([(note[0][:8], note[1]) for note in notes], [(b'CORE', 1), (b'QEMU', 0)] * 2)
        rip, = struct.unpack_from('<Q', bytes_, notes[0][2] + 112 + 16 * 8)
        same(0x100000 <= rip < 0x101000, True)
        same(struct.unpack_from('<Q', bytes_, notes[1][2] + 8 + 16 * 8)[0], rip)
        if shutil.which('gdb'):
            gdb = subprocess.run(['gdb', '-nx', '-batch', '-core', core, '-ex', 'print/x $rip',
                                  '-ex', 'x/wx 0x100000'], capture_output=True, text=True)
            same((f'$1 = {rip:#x}' in gdb.stdout, '0x1badb002' in gdb.stdout), (True, True))
        with open(core + '2', 'wb') as file:
            socket.send_fds(client.socket, [json.dumps(
                {'execute': 'getfd', 'arguments': {'fdname': 'c'}}).encode()], [file.fileno()])
            same(client.reply(), {'return': {}})
        same(client.execute('dump-guest-memory',
                            arguments={'paging': False, 'protocol': 'fd:c'}), {'return': {}})
        same(os.path.getsize(core + '2'), len(bytes_))
        same(client.execute('query-status')['return']['running'], True)


@check('the human monitor\'s commands')
def _():
    with Machine('tick', '--cpus', '2') as machine:
        client = Client()

        def human(line, **more):
            return client.execute('human-monitor-command',
                                  arguments={'command-line': line, **more})['return']

        for line, pattern in (
                ('info status', r'VM status: running\r\n'),
                ('info version', r'7\.2\.0 \(veneer .*\)\r\n'),
                ('info registers', r'\r\nCPU#0\r\nRAX=(?s:.*)EFER=(?s:.*)'),
                ('info registers -a', r'(?s:.*)CPU#0(?s:.*)CPU#1(?s:.*)'),
                ('info cpus', r'\* CPU #0: .*\r\n  CPU #1: .*\r\n'),
                ('info pci', r'(?s:.*)PCI device 8086:29c0(?s:.*)'),
                ('info mtree', r'(?s:.*)00000000fec00000-00000000fec00fff: IOAPIC\r\n(?s:.*)'),
                ('info qtree', r'(?s:.*)dev: ioapic, id "0"\r\n(?s:.*)'),
                ('info mem', 'PG disabled\r\n'), ('info tlb', 'PG disabled\r\n'),
                ('info block', ''), ('info network', ''), ('', ''),
                ('xp/2xw 0x100000', '0000000000100000: 0x1badb002 0x00000000\r\n'),
                ('x/1xb 0x100001', '0000000000100001: 0xb0\r\n'),
                ('x/1dh 0x100002', '0000000000100002: 7085\r\n'),
                ('xp 0xffffffffffffffff', 'ffffffffffffffff: Cannot access memory\r\n'),
                ('xp/99999x 0', 'expected .*\r\n'), ('xp/z 0', 'expected .*\r\n'),
                ('xp fly', "'fly' is no address\r\n"),
                ('fly', "unknown command: 'fly'\r\n"),
                ('info fly', "unknown command: 'info fly'\r\n"),
                ('sendkey fly', 'invalid parameter: fly\r\n'), ('sendkey ctrl-a', ''),
                ('stop', ''), ('info status', r'VM status: paused\r\n'),
                ('info registers', r'\r\nCPU#0(?s:.*)'), ('cont', '')):
            got = human(line)
            if not re.fullmatch(pattern, got):
                raise AssertionError(f'{line}: {got!r}')
        same('CPU#1' in human('info registers', **{'cpu-index': 1}), True)
        error(client.execute('human-monitor-command',
                             arguments={'command-line': '', 'cpu-index': 2}))
        # Looking at registers is no pause that clients are told of; stop and cont were.
        same([event['event'] for event in client.events], ['STOP', 'RESUME'])
        for line in ('help', 'info', 'help info'):
            same(len(human(line).splitlines()) > 5, True)
        client.execute('human-monitor-command', arguments={'command-line': 'system_powerdown'})
        client.execute('human-monitor-command', arguments={'command-line': 'quit'})
        same(machine.finish(), 0)


@check('errors, and ids of any kind')
def _():
    with Machine('spin'):
        client = Client()
        same(error(client.execute('fly'), 'CommandNotFound'), 'The command fly has not been found')
        error(client.execute('stop', arguments={'now': True}))
        error(client.execute('stop', arguments=[]))
        error(client.execute('stop', haste=1))
        for text in ('{"execute": 3}', '{"arguments": {}}', '{}', '[]', '[1, {"execute": "quit"}]',
                     '3\n', '"quit"\n', 'null\n'):
            client.send(text)
            error(client.reply())
        for ident in (1, 'x', None, {'a': [1.5, True]}, [], 'ä€\0'[:2]):
            same(client.execute('query-status', id=ident)['id'], ident)
            same(client.execute('fly', id=ident)['id'], ident)
        same(client.execute('query-status')['return']['status'], 'running')


@check('texts in pieces, over several lines, and several at once')
def _():
    with Machine('spin'):
        client = Client()
        for byte in b'{"execute": "query-status",\r\n "id": "}\\"{"}':
            client.send(bytes([byte]))
        same(client.reply()['id'], '}"{')
        client.send('\n'.join(json.dumps({'execute': 'query-status', 'id': i}) for i in range(50)))
        same([client.reply()['id'] for _ in range(50)], list(range(50)))
        client.send(''.join(json.dumps({'execute': command, 'id': i}) for i, command in
                            enumerate(['stop', 'query-status', 'cont', 'query-status'])))
        same([client.reply()['id'] for _ in range(4)], [0, 1, 2, 3])


@check('bad JSON is answered, and the next line is heard')
def _():
    with Machine('spin'):
        client = Client()
        for text in (b'fly\n', b'{fly}', b'}', b']\n', b'{"execute": "quit\n', b'{"a": 1 "b"}',
                     b'\xff\xfe\n', b'{"execute": "qu\xffit"}', b'{"execute": "quit\0"}',
                     b'{"execute": "quit", "execute": "stop"}', b'[}', b'{"id": 1e999}',
                     b'{"id": 99999999999999999999}', b'\0\n', b'{"execute": "qu\\u0000it"}'):
            client.send(text)
            error(client.reply())
            same(client.execute('query-status', id=7)['id'], 7)


@check('a text that is too long or too deep ends the connection, not the machine')
def _():
    with Machine('spin'):
        for text in (b'{"execute": "' + b'x' * 100000, b'x' * 100000, b'[' * 1000,
                     b'{"a":' * 1000, b'{"id": "' + b'\\' * 60000):
            client = Client()
            try:
                client.send(text)
            except (BrokenPipeError, ConnectionResetError):
                pass
            error(client.reply())
            try:
                same(client.file.readline(), b'')
            except ConnectionResetError:
                pass
        same(Client().execute('query-status')['return']['running'], True)


# --- life ---

for engine in engines:
    @check(f'stop freezes the guest and its clock, cont goes on without a jump ({engine})')
    def _():
        with Machine('tick', '--engine', engine) as machine:
            client = Client()
            machine.read(0.5)
            same(client.execute('stop'), {'return': {}})
            same(client.event('STOP'), None)
            same(client.execute('query-status')['return'], {'running': False, 'singlestep': False, 'status': 'paused'})
            machine.read(0.2)  # what the console had in its queue
            before = len(machine.ticks())
            if before < 3:
                raise AssertionError(f'{before} lines')
            same(machine.read(2.0), b'')
            same(client.execute('stop'), {'return': {}})
            same(client.execute('cont'), {'return': {}})
            same(client.event('RESUME'), None)
            same(client.execute('cont'), {'return': {}})
            same(client.events, [])
            machine.read(0.5)
            ticks = machine.ticks()
            if len(ticks) < before + 3:
                raise AssertionError('it does not go on')
            seconds = (ticks[-1][1] - ticks[0][1]) / PM_TIMER_HZ
            hz = (ticks[-1][0] - ticks[0][0]) / seconds
            for last, now in zip(ticks, ticks[1:]):
                # A loaded host lets a guest wait, too, but not for 2 seconds.
                if now[0] < last[0] or now[0] - last[0] > hz * 1.0 or \
                        not 0 < now[1] - last[1] < PM_TIMER_HZ * 1.0:
                    raise AssertionError(f'from {last} to {now} at {hz} a second')

    for kernel, cpus in (('time', 1), ('multicpu', 4), ('hammer', 4)):
        @check(f'{kernel} with {cpus} processors does not notice being paused ({engine})')
        def _():
            with Machine(os.path.join(guests, kernel), '--engine', engine, '--memory', '64M',
                         '--cpus', str(cpus), '--append', f'cpus={cpus}', '--debug-exit',
                         '0xf4') as machine:
                client = Client()
                pauses = 0
                try:
                    while True:
                        same(client.execute('stop')['return'], {})
                        same(client.execute('cont')['return'], {})
                        pauses += 1
                        time.sleep(0.005)
                except (EOFError, ConnectionResetError, BrokenPipeError):
                    pass
                machine.read(1)
                if machine.finish(60) != 1:
                    raise AssertionError(machine.output.decode()[-1000:])
                if pauses < 5:
                    raise AssertionError(f'only {pauses} pauses')


@check('stop of a halted guest, of four processors that wait, and of one without interrupts')
def _():
    for kernel, cpus in (('halt', 1), ('halt', 4), ('spin', 4)):
        with Machine(kernel, '--cpus', str(cpus)):
            client = Client()
            for _ in range(20):
                client.execute('stop')
                client.event('STOP')
                client.execute('cont')
                client.event('RESUME')


@check('quit: status 0, a last event, and the socket is gone')
def _():
    for paused in (False, True):
        with Machine('spin') as machine:
            client, other, mute = Client(), Client(), Client(negotiate=False)
            if paused:
                client.execute('stop')
                client.event('STOP')
                other.event('STOP')
            same(client.execute('quit', id=1), {'return': {}, 'id': 1})
            for each in (client, other):
                same(each.event('SHUTDOWN'), {'guest': False, 'reason': 'host-qmp-quit'})
                same(each.file.read(), b'')
            same(mute.file.read(), b'')
            same(machine.finish(), 0)
            same(os.path.exists(path), False)


@check('SIGTERM ends a machine that is paused, in order')
def _():
    with Machine('spin') as machine:
        client = Client()
        client.execute('stop')
        client.event('STOP')
        machine.process.send_signal(signal.SIGTERM)
        same(client.event('SHUTDOWN'), {'guest': False, 'reason': 'host-signal'})
        same(machine.finish(), -signal.SIGTERM)
        same(os.path.exists(path), False)


@check('the guest\'s own ends')
def _():
    for kernel, arguments, status, data in (
            ('power-off', (), 0, {'guest': True, 'reason': 'guest-shutdown'}),
            ('triple-fault', (), 6, {'guest': True, 'reason': 'guest-panic'}),
            ('reset-loop', ('--no-reboot',), 0, {'guest': True, 'reason': 'guest-reset'}),
            ('exit', ('--debug-exit', '0xf4'), 85, {'guest': True, 'reason': 'guest-shutdown'})):
        for _ in range(20):  # it may be over before we are connected
            with Machine(kernel, *arguments) as machine:
                try:
                    client = Client()
                    same(client.event('SHUTDOWN'), data)
                    break
                except (EOFError, OSError):
                    pass
                finally:
                    same(machine.finish(), status)


@check('resets by the guest and by the user, and a reset while paused')
def _():
    with Machine('reset-loop') as machine:
        client = Client()
        for _ in range(3):
            same(client.event('RESET'), {'guest': True, 'reason': 'guest-reset'})
        same(client.execute('quit'), {'return': {}})
        same(machine.finish(), 0)
    with Machine('tick') as machine:
        client = Client()
        machine.read(0.3)
        client.execute('stop')
        client.event('STOP')
        machine.read(0.2)
        same(client.execute('system_reset'), {'return': {}})
        same(client.event('RESET'), {'guest': False, 'reason': 'host-qmp-system-reset'})
        same(client.execute('query-status')['return']['status'], 'prelaunch')
        same(machine.read(0.5), b'')
        client.execute('cont')
        if b'\n' not in machine.read(1):
            raise AssertionError('it does not run after the reset')


@check('the power button')
def _():
    with Machine('halt'):
        client = Client()
        same(client.execute('system_powerdown'), {'return': {}})
        same(client.event('POWERDOWN'), None)


def status(client):
    answer = client.execute('query-status')['return']
    same(answer['running'], answer['status'] == 'running')
    return answer['status']


@check('a machine that sleeps')
def _():
    with Machine('sleep') as machine:
        client = Client()
        until(lambda: status(client) == 'suspended')
        client.events.clear()
        for wake in ('system_wakeup', 'system_powerdown', 'system_wakeup'):
            same(client.execute(wake), {'return': {}})
            for event in ('POWERDOWN',) * (wake == 'system_powerdown') + ('WAKEUP', 'SUSPEND'):
                same(client.event(event), None)
            same(machine.read(0.2), b'awake\n')
        # Paused, it sleeps on, and what wakes it waits.
        same(client.execute('stop'), {'return': {}})
        same(client.event('STOP'), None)
        same(status(client), 'paused')
        same(client.execute('cont'), {'return': {}})
        same(client.event('RESUME'), None)
        same(status(client), 'suspended')
        client.execute('stop')
        same(client.event('STOP'), None)
        same(client.execute('system_wakeup'), {'return': {}})
        same(client.event('WAKEUP'), None)
        same(machine.read(0.3), b'')
        same(status(client), 'paused')
        client.execute('cont')
        same(client.event('RESUME'), None)
        same(client.event('SUSPEND'), None)
        same(machine.read(0.2), b'awake\n')
        # A reset forgets that it slept.
        same(client.execute('system_reset'), {'return': {}})
        same(client.event('RESET'), {'guest': False, 'reason': 'host-qmp-system-reset'})
        same(client.event('SUSPEND'), None)
        same(machine.read(0.2), b'')
        same(client.execute('quit'), {'return': {}})
        same(machine.finish(), 0)
    with Machine('sleep') as machine:
        client = Client()
        until(lambda: status(client) == 'suspended')
        machine.process.terminate()
        same(client.event('SHUTDOWN'), {'guest': False, 'reason': 'host-signal'})
        same(machine.finish(), -signal.SIGTERM)
    with Machine('tick'):
        error(Client().execute('system_wakeup'), 'GenericError')


@check('stop waits for a guest whose output nobody reads, and nobody else does')
def _():
    with Machine('flood') as machine:
        stopper, other = Client(), Client()
        time.sleep(0.5)  # the console's queue and the pipe are full
        stopper.send('{"execute": "stop"}')
        for _ in range(20):
            other.execute('query-status')
        same(other.execute('quit'), {'return': {}})
        same(machine.finish(), 0)


# --- hostile clients ---

@check('a client that does not read keeps nobody waiting')
def _():
    with Machine('tick') as machine:
        deaf, other = Client(), Client()
        deaf.socket.setblocking(False)
        request = b'{"execute": "query-commands"}' * 1000
        sent = 0
        try:
            while sent < 100_000_000:
                sent += deaf.socket.send(request)
        except BlockingIOError:
            pass
        for _ in range(50):
            same(other.execute('stop'), {'return': {}})
            same(other.execute('cont'), {'return': {}})
        if not machine.read(0.5):
            raise AssertionError('the guest does not run')
        # Events that it does not read, more than there is room for.
        for _ in range(3000):
            other.execute('stop')
            other.execute('cont')
        same(other.execute('query-status')['return']['running'], True)


@check('more clients than there is room for are told so')
def _():
    with Machine('spin'):
        clients = [Client() for _ in range(8)]
        extra = socket.socket(socket.AF_UNIX)
        extra.settimeout(30)
        extra.connect(path)
        file = extra.makefile('rb')
        error(json.loads(file.readline()))
        same(file.read(), b'')
        clients.pop().close()
        time.sleep(0.2)
        same(Client().execute('query-status')['return']['running'], True)


@check('clients at one monitor leave room for those at another')
def _():
    other = path + '-other'
    command = [veneer, 'qemu', '-m', '16', '-display', 'none', '-kernel', os.path.join(kernels, 'spin')]
    for each in (path, other):
        command += ['-qmp', f'unix:{each},server=on,wait=off']
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        until(lambda: os.path.exists(path) and os.path.exists(other), 30)
        clients = [Client() for _ in range(8)]
        same(Client(at=other).execute('query-status')['return']['running'], True)
        same(clients[0].execute('quit'), {'return': {}})
        same(machine.wait(30), 0)
    finally:
        machine.kill()
        machine.wait()


@check('clients that leave at any moment')
def _():
    with Machine('spin'):
        for _ in range(30):
            for text in (b'', b'{"exec', b'{"execute": "stop"}', b'{"execute": "cont"}' * 5):
                client = Client()
                client.send(text)
                client.close()
        client = Client()
        client.send('{"execute": "query-status"}')
        client.socket.shutdown(socket.SHUT_WR)
        same(client.reply()['return']['status'] in ('running', 'paused'), True)
        same(client.file.read(), b'')
        same('return' in Client().execute('cont'), True)


@check('all commands are done of a client that says no more, and of one that has gone')
def _():
    commands = ('qmp_capabilities', 'query-status', 'stop', 'query-status', 'cont', 'stop',
                'query-status')
    text = '\n'.join(json.dumps({'execute': command}) for command in commands)
    with Machine('halt') as machine:
        client = Client(negotiate=False)
        client.send(text)
        client.socket.shutdown(socket.SHUT_WR)
        answers = [client.reply() for _ in commands]
        same([answer['return'].get('status') for answer in answers if answer['return']],
             ['running', 'paused', 'paused'])
        same(client.file.read(), b'')
        other = Client()
        for how in (socket.SHUT_RD, socket.SHUT_RDWR):
            for last, state in (('stop', 'paused'), ('cont', 'running')):
                client = Client(negotiate=False)
                client.send(text + ''.join(json.dumps({'execute': word}) for word in
                                           ['query-commands'] * 100 + ['stop', last]))
                client.socket.shutdown(how)
                until(lambda: other.execute('query-status')['return']['status'] == state)
                client.close()
        before = cpu_seconds(machine)
        time.sleep(0.5)
        same(cpu_seconds(machine) - before < 0.4, True)


@check('connections are taken again when there are descriptors again')
def _():
    with Machine('halt') as machine:
        pid = machine.process.pid
        Client().close()
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        waiting = socket.socket(socket.AF_UNIX)
        waiting.settimeout(30)
        waiting.connect(path)
        before = cpu_seconds(machine)
        same(select.select([waiting], [], [], 1)[0], [])
        same(cpu_seconds(machine) - before < 0.3, True)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        same('QMP' in json.loads(waiting.makefile().readline()), True)
        same('return' in Client().execute('query-status'), True)
        machine.process.kill()
        same(machine.process.stderr.read().decode(),
             f'veneer: warning: --control {path}: cannot take a connection now: '
             'Too many open files\n')


# --- the socket's file ---

@check('the umask says who may connect')
def _():
    before = os.umask(0)
    try:
        for mask in (0o022, 0o077, 0o002):
            os.umask(mask)
            with Machine('spin'):
                same(stat.S_IMODE(os.stat(path).st_mode), 0o777 & ~mask)
    finally:
        os.umask(before)


def refused(where, pattern):
    run = subprocess.run([veneer, 'run', '--kernel', os.path.join(kernels, 'spin'), '--memory',
                          '16M', '--control', where], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, timeout=30)
    same(run.returncode, 4)
    if not re.fullmatch(f'veneer: --control {re.escape(where)}: {pattern}\n', run.stderr):
        raise AssertionError(run.stderr)


@check('a socket that is left over is replaced, others are left alone')
def _():
    left_over = socket.socket(socket.AF_UNIX)
    left_over.bind(path)
    left_over.close()
    with Machine('spin') as machine:
        client = Client()
        refused(path, 'the file is there, and is no socket that is out of use; .*')
        same(client.execute('query-status')['return']['running'], True)
        # Somebody else's file under the same name stays.
        os.unlink(path)
        with open(path, 'w') as file:
            file.write('mine')
        client.execute('quit')
        same(machine.finish(), 0)
        same(open(path).read(), 'mine')
        refused(path, 'the file is there, and is no socket that is out of use; .*')
        same(open(path).read(), 'mine')


@check('paths at which there can be no socket')
def _():
    refused(os.path.join(work.name, 'none', 'socket'), 'cannot make the socket: No such file.*')
    refused('/tmp/' + 'x' * 200, 'expected the path of a socket, 1 to 96 characters')
    refused('', 'expected the path of a socket, 1 to 96 characters')


# --- keys and the mouse ---

def qcode(name):
    return {'type': 'qcode', 'data': name}


def event_of(kind, **data):
    return {'type': kind, 'data': data}


class Keys(Machine):
    """A machine that prints what comes from keyboard and mouse."""

    def __init__(self):
        super().__init__('keys')
        while b'on' not in self.output:
            self.read(0.05)
        self.output = b''

    def expect(self, *lines):
        want = ' '.join(lines)
        end = time.monotonic() + 20
        while len(self.output.split()) < len(want.split()) and time.monotonic() < end:
            self.read(0.05)
        same(b' '.join(self.output.split()).decode(), want)
        self.output = b''


@check('send-key')
def _():
    with Keys() as machine:
        client = Client()
        same(client.execute('send-key', arguments={'keys': [qcode('ctrl'), qcode('delete')],
                                                   'hold-time': 10}), {'return': {}})
        machine.expect('k1d ke0 k53 ke0 kd3 k9d')
        began = time.monotonic()
        for key in qcode('a'), {'type': 'number', 'data': 0x1f}:
            same(client.execute('send-key', arguments={'keys': [key]}), {'return': {}})
        machine.expect('k1e k9e k1f k9f')
        same(time.monotonic() - began >= 0.2, True)  # each is held for 100 ms
        # They wait while the machine is paused.
        client.execute('stop')
        client.execute('send-key', arguments={'keys': [qcode('b')], 'hold-time': 1})
        time.sleep(0.1)
        client.execute('cont')
        machine.expect('k30 kb0')


@check('input-send-event')
def _():
    with Keys() as machine:
        client = Client()
        same(client.execute('input-send-event', arguments={'events': [
            event_of('rel', axis='x', value=5), event_of('rel', axis='y', value=-3),
            event_of('btn', button='left', down=True), event_of('btn', button='left', down=False),
            event_of('key', key=qcode('a'), down=True), event_of('key', key=qcode('a'), down=False)
            ]}), {'return': {}})
        while len(machine.output.split()) < 11:
            machine.read(0.05)
        machine.output = b'\n'.join(sorted(machine.output.split(), key=lambda line: line[:1]))
        machine.expect('k1e k9e m08 m05 m03 m09 m00 m00 m08 m00 m00')


@check('keys and events that there are not')
def _():
    with Keys() as machine:
        client = Client()
        for arguments in ({}, {'keys': []}, {'keys': [qcode('a')] * 17}, {'keys': ['a']},
                          {'keys': [qcode('fly')]}, {'keys': [{'type': 'number', 'data': 0}]},
                          {'keys': [{'type': 'number', 'data': 89}]}, {'keys': [qcode(1)]},
                          {'keys': [qcode('a')], 'hold-time': 0},
                          {'keys': [qcode('a')], 'hold-time': 'long'},
                          {'keys': [qcode('a'), qcode('fly')]}, {'key': [qcode('a')]}):
            error(client.execute('send-key', arguments=arguments))
        for event in (1, {}, event_of('abs', axis='x', value=1), event_of('btn', button='left'),
                      event_of('btn', button='fly', down=True), event_of('key', key=qcode('a')),
                      event_of('rel', axis='z', value=1), event_of('rel', axis='x', value=99999)):
            error(client.execute('input-send-event', arguments={
                'events': [event_of('key', key=qcode('a'), down=True), event]}))
        error(client.execute('input-send-event'))
        client.execute('stop')
        answers = [client.execute('send-key', arguments={'keys': [qcode('a')] * 16})
                   for _ in range(200)]
        same(answers[0], {'return': {}})
        error(answers[-1])
        client.execute('quit')
        same(machine.finish(), 0)
        same(machine.output, b'')


# --- the subcommands ---

def call(*words):
    run = subprocess.run([veneer, *words], capture_output=True, text=True, timeout=60)
    return run.returncode, run.stdout, run.stderr


@check('veneer status, pause, resume, reset, powerdown, quit')
def _():
    with Machine('tick') as machine:
        same(call('status', path), (0, 'running\n', ''))
        same(call('pause', path), (0, '', ''))
        same(call('status', path), (0, 'paused\n', ''))
        machine.read(0.2)
        same(machine.read(0.5), b'')
        same(call('reset', path), (0, '', ''))
        same(call('resume', path), (0, '', ''))
        same(call('status', path), (0, 'running\n', ''))
        same(machine.read(1) != b'', True)
        same(call('powerdown', path), (0, '', ''))
        same(call('quit', path), (0, '', ''))
        same(machine.finish(), 0)


@check('veneer wakeup')
def _():
    with Machine('sleep') as machine:
        until(lambda: call('status', path) == (0, 'suspended\n', ''))
        same(call('wakeup', path), (0, '', ''))
        until(lambda: machine.read(0.2) == b'awake\n')
    with Machine('tick'):
        same(call('wakeup', path), (4, '', f'veneer: {path}: Unable to wake up: guest is not in suspended state\n'))


@check('veneer sendkey and type')
def _():
    with Keys() as machine:
        same(call('sendkey', path, 'shift-up', 'f1'), (0, '', ''))
        machine.expect('k2a ke0 k48 ke0 kc8 kaa k3b kbb')
        same(call('type', path, 'aB ~\n'), (0, '', ''))
        machine.expect('k1e k9e k2a k30 kb0 kaa k39 kb9 k2a k29 ka9 kaa k1c k9c')
        same(call('sendkey', path, 'fly'), (4, '', f"veneer: {path}: There is no key 'fly'\n"))


@check('subcommands say what is wrong')
def _():
    for words, status, pattern in (
            (('status',), 2, 'veneer: status: expected SOCKET .*'),
            (('pause', path, path), 2, 'veneer: pause: expected SOCKET .*'),
            (('resume', '--fly'), 2, 'veneer: resume: expected SOCKET .*'),
            (('quit', path), 4, f'veneer: {re.escape(path)}: cannot connect: No such file.*'),
            (('sendkey', path), 2, 'veneer: sendkey: expected SOCKET and KEYS.*'),
            (('type', path, 'ü'), 2, 'veneer: type: expected SOCKET and TEXT.*'),
            (('type', path, 'a'), 4, f'veneer: {re.escape(path)}: cannot connect: No such file.*'),
            (('quit', '/dev/null'), 4, 'veneer: /dev/null: cannot connect: .*')):
        got, out, err = call(*words)
        same((got, out), (status, ''))
        if not re.fullmatch(pattern + '\n', err):
            raise AssertionError(err)
    for word in ('status', 'pause', 'resume', 'reset', 'powerdown', 'wakeup', 'quit'):
        got, out, err = call(word, '--help')
        same((got, err), (0, ''))
        same(out.startswith(f'usage: veneer {word} SOCKET\n'), True)


@check('subcommands and a socket that is no machine\'s')
def _():
    for greeting in (b'HTTP/1.1 200\n', b'{}\n', b'[]', b'', b'[' * 100, b'x' * 20000):
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            process = subprocess.Popen([veneer, 'status', path], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
            peer, _ = server.accept()
            peer.sendall(greeting)
            peer.close()
            out, err = process.communicate(timeout=60)
            os.unlink(path)
            same((process.returncode, out, err.count('\n')), (4, '', 1))


print(f'1..{count}')
sys.exit(failures > 0)
