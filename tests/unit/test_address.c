/* Where operands in memory are: every part of an address, and instructions that have their own
 * rules. */
#include "base/bits.h"
#include "isa/address.h"
#include "isa/decode.h"
#include "isa/register.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NEXT UINT64_C(0x123456789a)

static struct cpu cpu;
static ZydisDecodedInstruction in;
static ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];

/* Each register has a value of its own, of more than 32 bits. */
static uint64_t value(unsigned reg)
{
	return UINT64_C(0x5000000000) * (reg + 1) + 0x10000u * (reg + 1);
}

static int setup(void **state)
{
	for (unsigned i = 0; i < 16; i++)
		cpu.gpr[i] = value(i);
	cpu.segment_base[SEG_FS] = UINT64_C(0x7f0000000000);
	cpu.segment_base[SEG_GS] = UINT64_C(0xffff800000000000);
	cpu.segment_base[SEG_SS] = cpu.segment_base[SEG_DS] = 0xbad0000; /* no 64-bit code's */
	return 0;
}

/* The instruction's memory operand number n. */
static const ZydisDecodedOperand *memory_operand(const char *bytes, size_t size, unsigned n)
{
	if (isa_decode(ISA_64, NULL, (const uint8_t *)bytes, size, &in, operands) != ISA_DECODED)
		fail_msg("not an instruction");
	for (unsigned i = 0; i < in.operand_count; i++)
		if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY && n-- == 0)
			return &operands[i];
	fail_msg("no such operand");
	return NULL;
}

static uint64_t linear(const char *bytes, size_t size, unsigned n)
{
	const ZydisDecodedOperand *operand = memory_operand(bytes, size, n);
	struct isa_address address;

	assert_true(isa_address(&in, operand, NEXT, &address));
	return isa_linear(&cpu, &address);
}

#define LINEAR(bytes, n) linear(bytes, sizeof(bytes) - 1, n)

static void parts_are_added(void **state)
{
	assert_int_equal(LINEAR("\x89\x18", 0), value(RAX));
	assert_int_equal(LINEAR("\x43\x89\x5c\xbc\xf0", 0), value(R12) + 4 * value(R15) - 16);
	assert_int_equal(LINEAR("\x89\x1c\x25\x00\x00\x00\x80", 0), 0xffffffff80000000);
	assert_int_equal(LINEAR("\x41\x89\x1c\x25\x11\x22\x33\x44", 0), 0x44332211);
	assert_int_equal(LINEAR("\x89\x1d\xf0\xff\xff\xff", 0), NEXT - 16);
	assert_int_equal(LINEAR("\x64\x89\x58\x08", 0), value(RAX) + 8 + cpu.segment_base[SEG_FS]);
	assert_int_equal(LINEAR("\x65\x89\x5d\x00", 0), value(RBP) + cpu.segment_base[SEG_GS]);
	assert_int_equal(LINEAR("\x2e\x89\x5d\x00", 0), value(RBP));
	assert_int_equal(LINEAR("\x48\xa1\x88\x77\x66\x55\x44\x33\x22\x11", 0),
		UINT64_C(0x1122334455667788));
	assert_int_equal(LINEAR("\x48\x8d\x44\x88\x04", 0), value(RAX) + 4 * value(RCX) + 4);
}

static void narrow_addresses_are_cut(void **state)
{
	assert_int_equal(LINEAR("\x67\x89\x58\xff", 0), (uint32_t)(value(RAX) - 1));
	assert_int_equal(LINEAR("\x67\x43\x89\x5c\xbc\xf0", 0),
		(uint32_t)(value(R12) + 4 * value(R15) - 16));
	assert_int_equal(LINEAR("\x67\x41\x89\x04\x25\x11\x22\x33\x84", 0), 0x84332211);
	assert_int_equal(LINEAR("\x67\x89\x1d\xf0\xff\xff\xff", 0), (uint32_t)(NEXT - 16));
	/* The segment's base comes after that. */
	assert_int_equal(
		LINEAR("\x65\x67\x89\x18", 0), (uint32_t)value(RAX) + cpu.segment_base[SEG_GS]);
	assert_int_equal(LINEAR("\x67\xa4", 0), (uint32_t)value(RDI));
	assert_int_equal(LINEAR("\x67\xa4", 1), (uint32_t)value(RSI));
}

/* SDM vol. 1, 6.2.5: the stack of 64-bit code knows no other address size. */
static void stack_is_below_rsp(void **state)
{
	assert_int_equal(LINEAR("\x50", 0), value(RSP) - 8);
	assert_int_equal(LINEAR("\x67\x50", 0), value(RSP) - 8);
	assert_int_equal(LINEAR("\x66\x50", 0), value(RSP) - 2);
	assert_int_equal(LINEAR("\x67\xff\x30", 0), (uint32_t)value(RAX));
	assert_int_equal(LINEAR("\x67\xff\x30", 1), value(RSP) - 8);
	assert_int_equal(LINEAR("\xe8\x00\x00\x00\x00", 0), value(RSP) - 8);
	assert_int_equal(LINEAR("\x58", 0), value(RSP));
	assert_int_equal(LINEAR("\x67\xc3", 0), value(RSP));
	assert_int_equal(LINEAR("\x67\xc9", 0), value(RBP));
	/* Not by way of the stack: RSP as a base like any other. */
	assert_int_equal(LINEAR("\x89\x04\x24", 0), value(RSP));
	assert_int_equal(LINEAR("\x67\x89\x04\x24", 0), (uint32_t)value(RSP));
}

static void some_are_not_known(void **state)
{
	static const struct {
		const char *bytes;
		size_t size;
	} unknown[] = {
		{"\xd7", 1},                         /* XLAT */
		{"\xc4\xe2\x71\x92\x04\x10", 6},     /* VGATHERDPS */
		{"\x62\xf2\x7d\x49\x92\x04\x10", 7}, /* the same, EVEX */
	};
	struct isa_address address;

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++) {
		const ZydisDecodedOperand *operand =
			memory_operand(unknown[i].bytes, unknown[i].size, 0);

		assert_false(isa_address(&in, operand, NEXT, &address));
	}
}

static void registers_are_numbered_as_zydis_does(void **state)
{
	for (ZydisRegister reg = ZYDIS_REGISTER_NONE; reg <= ZYDIS_REGISTER_MAX_VALUE; reg++) {
		unsigned class = ZydisRegisterGetClass(reg);
		bool general = class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;

		assert_int_equal(isa_register_class(reg), class);
		assert_int_equal(isa_is_gpr(reg), general);
		if (general)
			assert_int_equal(isa_gpr_number(reg),
				ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
					ZYDIS_MACHINE_MODE_LONG_64, reg)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_are_numbered_as_zydis_does),
		cmocka_unit_test(parts_are_added),
		cmocka_unit_test(narrow_addresses_are_cut),
		cmocka_unit_test(stack_is_below_rsp),
		cmocka_unit_test(some_are_not_known),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
