/* stub-dump [--32] HEX...: show the stub that an instruction's bytes become, as in
 * docs/fpu-and-simd.md. */
#include "cpu/fpu.h"
#include "engine/interp/stub.h"
#include "isa/decode.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct cpu processor; /* only its address range for generated code is used */

static size_t parse(const char *text, uint8_t out[15])
{
	size_t size = 0;

	while (text[0] && text[1] && size < 15) {
		unsigned value;

		if (sscanf(text, "%2x", &value) != 1)
			return 0;
		out[size++] = (uint8_t)value;
		text += 2;
	}
	return size;
}

static void print(const ZydisDecodedInstruction *in, const ZydisDecodedOperand *operands,
	const uint8_t *bytes)
{
	ZydisFormatter formatter;
	char text[96], hex[48] = "";

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	ZydisFormatterFormatInstruction(&formatter, in, operands, in->operand_count_visible, text,
		sizeof(text), ZYDIS_RUNTIME_ADDRESS_NONE, NULL);
	for (unsigned i = 0; i < in->length; i++)
		sprintf(hex + 3 * i, "%02x ", bytes[i]);
	printf("    %-36s %s\n", hex, text);
}

/* Up to the first RET: a stub has only one. */
static void disassemble(const uint8_t *code)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;

	do {
		if (isa_decode(ISA_64, NULL, code, INSN_LENGTH_MAX, &in, operands) != ISA_DECODED)
			return;
		print(&in, operands, code);
		code += in.length;
	} while (in.mnemonic != ZYDIS_MNEMONIC_RET);
}

static int dump(struct stub_cache *cache, bool narrow, const char *hex)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction in;
	const struct stub *stub;
	uint8_t bytes[INSN_LENGTH_MAX];
	uintptr_t code;

	if (isa_decode(narrow ? ISA_32 : ISA_64, processor.model, bytes, parse(hex, bytes), &in,
		    operands) != ISA_DECODED) {
		fprintf(stderr, "%s: not an instruction\n", hex);
		return 1;
	}
	print(&in, operands, bytes);
	stub = stub_get(cache, &in, operands, bytes);
	if (!stub) {
		printf("has no stub\n");
		return 0;
	}
	printf("becomes\n");
	code = (uintptr_t)stub->code;
	if (code >= processor.native_start && code < processor.native_end)
		disassemble((const uint8_t *)code);
	else
		printf("    a C function\n");
	return 0;
}

int main(int argc, char **argv)
{
	static struct cpuid_host host;
	static struct cpu_model model;
	struct stub_cache *cache;
	bool narrow = argc > 1 && !strcmp(argv[1], "--32");
	int status = 0;

	cpuid_host_read(&host);
	if (cpu_model_build(&model, &host, NULL, NULL) < 0)
		return 1;
	processor.model = &model;
	cache = stub_cache_create(&processor, 64 * KIB);
	if (!cache)
		return 1;
	for (int i = 1 + narrow; i < argc; i++)
		status |= dump(cache, narrow, argv[i]);
	stub_cache_destroy(cache);
	return status;
}
