#!/usr/bin/env python3
"""Rewrite every memory operand of gcc's assembly (Intel syntax) the way a translator would.

usage: reach.py VARIANT < kernels.s > VARIANT.s
       reach.py list

Operands on the stack are left alone: RSP rides on a check of its own. All variants compute the same;
main_reach.c compares the results."""
import re
import sys

SLOT = 0xfc  # guest addresses of the experiment: main_reach.c
SIZES = {'BYTE': 1, 'WORD': 2, 'DWORD': 4, 'QWORD': 8}
FULL_NAME = {}
for names in ('rax eax ax al', 'rdx edx dx dl', 'rbx ebx bx bl', 'rbp ebp bp bpl', 'rsi esi si sil', 'rdi edi di dil'):
    FULL_NAME.update({name: names[:3] for name in names.split()})
for number in range(8, 16):
    FULL_NAME.update({f'r{number}{suffix}': f'r{number}' for suffix in ('', 'd', 'w', 'b')})
FLAGS_WRITTEN = re.compile(r'^(add|sub|cmp|test|xor|and|or|neg|inc|dec|sal|shl|shr|sar|imul|call|ret|bts?)\b')
FLAGS_READ = re.compile(r'^(j(?!mp)|set|cmov|adc|sbb)')

VARIANTS = ('native predicted base constant flags gs table pdep byte tlb once once_byte once_gs elided '
            'elided_gs')

variant = sys.argv[1]
if variant == 'list':
    print(VARIANTS)
    sys.exit()
if variant not in VARIANTS.split():
    sys.exit(f'reach.py: no variant "{variant}"; expected one of: {VARIANTS}')
label = 0
lines = [line.rstrip('\n') for line in sys.stdin]


def flags_dead(at):
    """Does no instruction after line `at` want the flags? Compilers keep none across a jump."""
    for line in lines[at:]:
        text = line.strip()
        if FLAGS_READ.match(text):
            return False
        if FLAGS_WRITTEN.match(text) or text.startswith('jmp'):
            return True
    return True


def check(out, register):
    """Flag-free: does bits 39..54 of `register` equal the predicted slot? RCX is lost."""
    global label
    label += 1
    out += [f'rorx rcx, {register}, 39', 'movzx ecx, cx', f'lea ecx, [rcx-{SLOT}]',
            f'jrcxz .Lhit{label}', 'jmp reach_failed', f'.Lhit{label}:']


def reach(at, size, address):
    """Instructions that make `address` reachable, and the operand to use instead."""
    global label
    parts = re.fullmatch(r'(?P<base>[a-z0-9]+)?(?P<index>\+[a-z0-9]+\*[1248]|\+[a-z][a-z0-9]+)?(?P<disp>[+-][0-9]+)?',
                         address)
    simple = parts and parts['base'] and not parts['index']
    base = parts['base'] if parts else None
    lea = f'lea r10, [{address}]'
    out = []
    if variant == 'flags' and not flags_dead(at):
        return reach_as('predicted', out, simple, base, lea, size, address)
    return reach_as(variant, out, simple, base, lea, size, address)


checked = {}  # address expression, without displacement: has it been checked in this unit?


def forget(text):
    """Which checks does this instruction make worthless? Adding a constant does not: the guards
    around a window are wide."""
    if text.endswith(':') or text.startswith(('jmp', 'call', 'ret')):
        checked.clear()
        return
    target = re.match(r'\w+\s+(\w+)', text)
    if not target or target[1] not in FULL_NAME or re.match(r'(cmp|test|add\s+\w+, -?\d+$|sub\s+\w+, -?\d+$)', text):
        return
    for expression in [each for each in checked if FULL_NAME[target[1]] in each]:
        del checked[expression]


since_pad = 0


def pad():
    """A place near enough for JRCXZ, jumped around."""
    global label, since_pad
    label += 1
    since_pad = 0
    return [f'jmp .Lover{label}', f'.Lpad{label}:', 'jmp reach_failed', f'.Lover{label}:']


def reach_as(how, out, simple, base, lea, size, address):
    global label, since_pad
    if how.startswith('once'):
        expression = re.sub(r'[+-][0-9]+$', '', address)
        elided = expression in checked
        checked[expression] = True
        if elided:
            return reach_as('elided_gs' if how == 'once_gs' else 'elided', out, simple, base, lea, size, address)
        how = {'once': 'base', 'once_gs': 'gs', 'once_byte': 'byte'}[how]
    if how == 'byte':
        since_pad += 35
        if since_pad > 110:
            out += pad()
            since_pad = 35
        if not simple:
            out.append(lea)
        out += [f'rorx rcx, {base if simple else "r10"}, 39', 'movzx ecx, cx',
                f'movzx ecx, BYTE PTR [rcx+reach_same+{65536 - SLOT}]', f'jrcxz .Lpad{label}', 'mov rcx, [reach_delta]']
        return out, f'{address}+rcx' if simple else 'r10+rcx'
    if how == 'base' and not simple:
        how = 'predicted'
    if how == 'predicted':
        out.append(lea)
        check(out, 'r10')
        out.append('mov rcx, [reach_delta]')
        return out, 'r10+rcx'
    if how == 'base':
        check(out, base)
        out.append('mov rcx, [reach_delta]')
        return out, f'{address}+rcx'
    if how == 'constant':
        if simple:
            check(out, base)
            out.append('movabs rcx, 0x200000000000-0x7e0000000000')
            return out, f'{address}+rcx'
        out.append(lea)
        check(out, 'r10')
        out.append('movabs rcx, 0x200000000000-0x7e0000000000')
        return out, 'r10+rcx'
    if how == 'flags':
        if not simple:
            out.append(lea)
        out += ['mov rcx, ' + (base if simple else 'r10'), 'shr rcx, 39', f'cmp ecx, {SLOT}',
                'jne reach_failed', 'mov rcx, [reach_delta]']
        return out, f'{address}+rcx' if simple else 'r10+rcx'
    if how == 'gs':
        if not simple:
            out.append(lea)
        check(out, base if simple else 'r10')
        return out, 'gs:' + address
    if how == 'table':
        out += [lea, 'rorx rcx, r10, 39', 'movzx ecx, cx', 'mov rcx, [rcx*8+reach_table]']
        return out, 'r10+rcx'
    if how == 'pdep':
        out += ['mov rcx, [reach_minus_slot]', lea, 'lea rcx, [rcx+r10]', 'pdep rcx, rcx, [reach_spread]',
                'mov r10, [reach_window]']
        return out, 'r10+rcx'
    if how == 'tlb':
        label += 1
        out += [lea, 'pext rcx, r10, [reach_index_mask]', 'mov rcx, [rcx*8+reach_tlb_minus]',
                f'lea rcx, [rcx+r10+{size - 1}]', 'pext rcx, rcx, [reach_page_mask]',
                f'jrcxz .Lhit{label}', 'jmp reach_failed', f'.Lhit{label}:',
                'pext rcx, r10, [reach_index_mask]', 'mov rcx, [rcx*8+reach_tlb_addend]']
        return out, 'r10+rcx'
    if how == 'elided':
        if not simple:
            out += [lea, 'mov rcx, [reach_delta]']
            return out, 'r10+rcx'
        return ['mov rcx, [reach_delta]'], f'{address}+rcx'
    if how == 'elided_gs':
        return [], 'gs:' + address
    raise AssertionError(how)


for at, line in enumerate(lines):
    text = line.strip()
    since_pad += 5
    name = re.match(r'^(kernel_\w+):', text)
    if name or '.globl' in text or '.type' in text or '.size' in text:
        print(re.sub(r'(kernel_\w+)', rf'\1_{variant}', line))
        continue
    operand = re.search(r'(\w+) PTR (-?\d+)?\[([^]]*)\]', text)
    if 'byte' in variant and re.match(r'^\.L\d+:', text):
        print('\n'.join(pad()))
    if variant == 'native' or not operand or text.startswith('lea') or 'rsp' in operand[3]:
        print(line)
        forget(text)
        continue
    address = operand[3] + (('+' if not operand[2].startswith('-') else '') + operand[2] if operand[2] else '')
    before, replacement = reach(at + 1, SIZES[operand[1]], address)
    for each in before:
        print('\t' + each)
    segment = 'gs:' if replacement.startswith('gs:') else ''
    replacement = replacement.removeprefix('gs:')
    print('\t' + text[:operand.start()] + f'{operand[1]} PTR {segment}[{replacement}]' + text[operand.end():])
    forget(text)
