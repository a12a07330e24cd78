#!/usr/bin/env python3
"""Move RCX to R11 and keep R10 and R11 in memory, as the translator does with a guest's registers.

usage: spill.py native|spilled < registers.s > registers_VARIANT.s"""
import re
import sys

variant = sys.argv[1]
PINNED = re.compile(r'\br1([01])([dwb]?)\b')
RCX = {'rcx': 'r11', 'ecx': 'r11d', 'cx': 'r11w', 'cl': 'r11b'}
SCRATCH = {'0': ('r10', 'r10d', 'r10w', 'r10b'), '1': ('rcx', 'ecx', 'cx', 'cl')}
WIDTH = {'': 0, 'd': 1, 'w': 2, 'b': 3}
POINTER = {'': 'QWORD', 'd': 'DWORD', 'w': 'WORD', 'b': 'BYTE'}

for line in sys.stdin:
    line = re.sub(r'(kernel_\w+)', rf'\1_{variant}', line.rstrip('\n'))
    text = line.strip()
    if variant == 'native' or text.startswith(('.', '#')) or text.endswith(':'):
        print(line)
        continue
    used = sorted({found[1] for found in PINNED.finditer(text)})
    rename = lambda s: re.sub(r'\b(rcx|ecx|cx|cl)\b', lambda m: RCX[m[0]], s)
    if not used:
        print(rename(line))
        continue
    mnemonic, _, rest = text.partition('\t')
    operands = [each.strip() for each in rest.split(',')]
    # A source that may be a memory operand is one.
    last = PINNED.fullmatch(operands[-1])
    if len(used) == 1 and last and len(operands) == 2 and '[' not in rest and not PINNED.search(operands[0]) \
            and not mnemonic.startswith('sh'):
        print(f'\t{mnemonic}\t{rename(operands[0])}, {POINTER[last[2]]} PTR [spill_r1{last[1]}]')
        continue
    target = PINNED.fullmatch(operands[0])
    written = target and mnemonic not in ('cmp', 'test')
    pure = mnemonic in ('mov', 'lea', 'movzx', 'rorx', 'andn') and len(operands) > 1
    for number in used:
        only_target = pure and target and target[1] == number and not any(
            PINNED.search(each) and f'r1{number}' in each for each in operands[1:])
        if not only_target:
            print(f'\tmov\t{SCRATCH[number][0]}, QWORD PTR [spill_r1{number}]')
    replaced = PINNED.sub(lambda m: '@' + SCRATCH[m[1]][WIDTH[m[2]]], rest)
    replaced = re.sub(r'(?<!@)\b(rcx|ecx|cx|cl)\b', lambda m: RCX[m[0]], replaced).replace('@', '')
    print(f'\t{mnemonic}\t{replaced}')
    if written:
        print(f'\tmov\tQWORD PTR [spill_r1{target[1]}], {SCRATCH[target[1]][0]}')
