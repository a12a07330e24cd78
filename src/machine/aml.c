#include "machine/aml.h"

#include <assert.h>
#include <string.h>

enum aml_opcode {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_NAME = 0x08,
	AML_BYTE = 0x0a,
	AML_WORD = 0x0b,
	AML_DWORD = 0x0c,
	AML_STRING = 0x0d,
	AML_SCOPE = 0x10,
	AML_BUFFER = 0x11,
	AML_PACKAGE = 0x12,
	AML_METHOD = 0x14,
	AML_EXTENSION = 0x5b,
	AML_ARGUMENT_0 = 0x68,
	AML_EXTENDED_DEVICE = 0x82,
	AML_RETURN = 0xa4,
};

enum aml_resource {
	AML_RESOURCE_IRQ = 0x22, /* two bytes follow: edge, active high */
	AML_RESOURCE_DMA = 0x2a, /* two bytes follow: channels, how it transfers */
	AML_RESOURCE_IO = 0x47,  /* seven bytes follow */
	AML_RESOURCE_END = 0x79, /* one byte follows: checksum, or 0 */
	/* These are followed by their length in two bytes. */
	AML_RESOURCE_MEMORY32_FIXED = 0x86,
	AML_RESOURCE_DWORD = 0x87,
	AML_RESOURCE_WORD = 0x88,
	AML_RESOURCE_QWORD = 0x8a,
};

static void put(struct aml *aml, uint64_t value, unsigned bytes)
{
	for (; bytes; bytes--, value >>= 8) {
		if (aml->next == aml->end)
			aml->overflow = true;
		else
			*aml->next++ = (uint8_t)value;
	}
}

static void put_name(struct aml *aml, const char *name)
{
	for (; *name; name++)
		put(aml, (uint8_t)*name, 1);
}

/* PkgLength counts its own bytes. The two-byte form serves every package here (up to 4095 bytes):
 * bits 7..6 of the first byte give the number of further bytes, bits 3..0 the length's low bits. */
static void open_package(struct aml *aml)
{
	assert(aml->depth < AML_DEPTH);
	aml->open[aml->depth++] = aml->next;
	put(aml, 0, 2);
}

void aml_close(struct aml *aml)
{
	uint8_t *length_field;
	uint32_t length;

	assert(aml->depth > 0);
	length_field = aml->open[--aml->depth];
	length = (uint32_t)(aml->next - length_field);
	if (length > 0xfff)
		aml->overflow = true;
	if (aml->overflow)
		return;
	length_field[0] = (uint8_t)(1 << 6 | (length & 0xf));
	length_field[1] = (uint8_t)(length >> 4);
}

void aml_scope(struct aml *aml, const char *name)
{
	put(aml, AML_SCOPE, 1);
	open_package(aml);
	put_name(aml, name);
}

void aml_device(struct aml *aml, const char *name)
{
	put(aml, AML_EXTENSION, 1);
	put(aml, AML_EXTENDED_DEVICE, 1);
	open_package(aml);
	put_name(aml, name);
}

void aml_package(struct aml *aml, uint8_t elements)
{
	put(aml, AML_PACKAGE, 1);
	open_package(aml);
	put(aml, elements, 1);
}

void aml_name(struct aml *aml, const char *name)
{
	put(aml, AML_NAME, 1);
	put_name(aml, name);
}

void aml_integer(struct aml *aml, uint32_t value)
{
	if (value <= 1) {
		put(aml, value ? AML_ONE : AML_ZERO, 1);
	} else if (value <= 0xff) {
		put(aml, AML_BYTE, 1);
		put(aml, value, 1);
	} else if (value <= 0xffff) {
		put(aml, AML_WORD, 1);
		put(aml, value, 2);
	} else {
		put(aml, AML_DWORD, 1);
		put(aml, value, 4);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	put(aml, AML_STRING, 1);
	put_name(aml, text);
	put(aml, 0, 1);
}

void aml_method_returning(struct aml *aml, const char *name, uint8_t arguments, uint8_t returned)
{
	put(aml, AML_METHOD, 1);
	open_package(aml);
	put_name(aml, name);
	put(aml, arguments, 1);
	put(aml, AML_RETURN, 1);
	put(aml, AML_ARGUMENT_0 + returned, 1);
	aml_close(aml);
}

static unsigned hex_digit(char c)
{
	return c <= '9' ? (unsigned)(c - '0') : (unsigned)(c - 'A' + 10);
}

/* Three letters of five bits each and four hex digits, most significant byte first (ACPI 6.4,
 * 19.3.4). */
void aml_eisa_id(struct aml *aml, const char *id)
{
	uint32_t value = 0;
	unsigned i;

	for (i = 0; i < 3; i++)
		value = value << 5 | ((uint32_t)id[i] & 0x1f);
	for (; i < 7; i++)
		value = value << 4 | hex_digit(id[i]);
	aml_integer(aml, __builtin_bswap32(value));
}

/* A resource template is a buffer, whose size comes as an integer before its bytes; it is patched
 * when the template is complete. */
void aml_resources(struct aml *aml)
{
	aml_name(aml, "_CRS");
	put(aml, AML_BUFFER, 1);
	open_package(aml);
	put(aml, AML_BYTE, 1);
	put(aml, 0, 1);
}

void aml_io(struct aml *aml, uint16_t port, uint8_t count)
{
	put(aml, AML_RESOURCE_IO, 1);
	put(aml, 1, 1);    /* decodes all 16 address bits */
	put(aml, port, 2); /* lowest and highest base */
	put(aml, port, 2);
	put(aml, 1, 1); /* alignment */
	put(aml, count, 1);
}

void aml_irq(struct aml *aml, unsigned irq)
{
	put(aml, AML_RESOURCE_IRQ, 1);
	put(aml, 1u << irq, 2);
}

void aml_dma(struct aml *aml, unsigned channel)
{
	put(aml, AML_RESOURCE_DMA, 1);
	put(aml, 1u << channel, 1);
	put(aml, 0, 1); /* bytes, ISA timing */
}

void aml_memory_fixed(struct aml *aml, uint32_t start, uint32_t size)
{
	put(aml, AML_RESOURCE_MEMORY32_FIXED, 1);
	put(aml, 9, 2);
	put(aml, 1, 1); /* it can be written to */
	put(aml, start, 4);
	put(aml, size, 4);
}

void aml_window(struct aml *aml, enum aml_window kind, uint64_t start, uint64_t size)
{
	static const struct {
		uint8_t resource, type, flags; /* flags: memory is writable; all of I/O space */
		unsigned bytes;                /* of each of five numbers */
	} kinds[] = {
		[AML_WINDOW_BUSES] = {AML_RESOURCE_WORD, 2, 0, 2},
		[AML_WINDOW_PORTS] = {AML_RESOURCE_WORD, 1, 3, 2},
		[AML_WINDOW_MEMORY32] = {AML_RESOURCE_DWORD, 0, 1, 4},
		[AML_WINDOW_MEMORY64] = {AML_RESOURCE_QWORD, 0, 1, 8},
	};
	unsigned bytes = kinds[kind].bytes;

	put(aml, kinds[kind].resource, 1);
	put(aml, 3 + 5 * bytes, 2);
	put(aml, kinds[kind].type, 1);
	put(aml, 0xc, 1); /* both ends are fixed; the bridge passes it on */
	put(aml, kinds[kind].flags, 1);
	put(aml, 0, bytes); /* granularity */
	put(aml, start, bytes);
	put(aml, start + (size - 1), bytes);
	put(aml, 0, bytes); /* translation */
	put(aml, size, bytes);
}

void aml_close_resources(struct aml *aml)
{
	uint8_t *bytes = aml->open[aml->depth - 1] + 4; /* after PkgLength and the size */

	put(aml, AML_RESOURCE_END, 1);
	put(aml, 0, 1);
	if (aml->next - bytes > 0xff)
		aml->overflow = true;
	if (!aml->overflow)
		bytes[-1] = (uint8_t)(aml->next - bytes);
	aml_close(aml);
}
