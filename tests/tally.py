#!/usr/bin/env python3
"""Counts tests for test.sh: prints "PASSED FAILED" and, on standard error, what failed.

    tally.py tap FILE STATUS     the TAP that a program wrote, and its exit status
    tally.py meson FILE STATUS   meson's testlog.json, and the exit status of "meson test"

A program that ends badly without saying which test failed counts as one failure more, and so does one
that ran fewer tests than it said it would: a test that does not run is no test that passed.
"""
import json
import re
import sys


def tally_tap(lines, status, name):
    passed, failed, plan, seen = 0, [], None, 0
    for index, line in enumerate(lines):
        match = re.match(r'(not )?ok\b(.*)', line)
        if match:
            seen += 1
            # cmocka says "not ok" of what it skipped.
            if re.search(r'# *skip', line, re.I):
                continue
            if match.group(1):
                notes = []
                for note in lines[index + 1:]:
                    if not note.startswith('#'):
                        break
                    notes.append('    ' + note[1:].strip())
                failed.append('\n'.join([name + match.group(2)] + notes))
            else:
                passed += 1
        match = re.match(r'1\.\.(\d+)', line)
        if match:
            plan = int(match.group(1))
    if plan is None:
        failed.append(f'{name}: stopped before its end, exit status {status}')
    elif plan != seen:
        failed.append(f'{name}: {seen} tests ran of {plan}')
    elif status and not failed:
        failed.append(f'{name}: exit status {status}, though no test failed')
    return passed, failed


def tally_meson(lines, status):
    passed, failed = 0, []
    for line in lines:
        test = json.loads(line)
        name = test['name'].split(' / ')[-1]
        bad = test['result'] not in ('OK', 'EXPECTEDFAIL', 'SKIP')
        output = (test.get('stdout') or '').splitlines()
        if any(re.match(r'1\.\.\d+', out) for out in output):
            more, wrong = tally_tap(output, test['returncode'], name)
        else:
            more, wrong = int(not bad), []
        if bad and not wrong:
            wrong = [f"{name}: {test['result']}"]
        if wrong:
            tail = ((test.get('stderr') or '').splitlines() or output)[-15:]
            wrong[-1] += ''.join('\n    ' + out for out in tail)
        passed += more
        failed += wrong
    if not lines or (status and not failed):
        failed.append(f'meson test: exit status {status}')
    return passed, failed


kind, path, status = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path, errors='replace') as file:
    content = file.read().replace('\r', '').splitlines()
if kind == 'meson':
    good, bad = tally_meson(content, status)
else:
    good, bad = tally_tap(content, status, '')
for text in bad:
    print('  FAILED ' + text.strip(' -'), file=sys.stderr)
print(good, len(bad))
