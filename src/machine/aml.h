/* A writer of ACPI Machine Language (ACPI 6.4, chapter 20), as much of it as a table needs that
 * names devices and their resources.
 *
 *	struct aml aml = {.start = buffer, .end = buffer + sizeof(buffer), .next = buffer};
 *
 *	aml_scope(&aml, "\\_SB_");			Scope (\_SB)
 *	aml_device(&aml, "COM1");			Device (COM1)
 *	aml_name(&aml, "_HID");				Name (_HID,
 *	aml_eisa_id(&aml, "PNP0501");				EisaId ("PNP0501"))
 *	aml_close(&aml);
 *	aml_close(&aml);
 *
 * What is written past the buffer's end is dropped and remembered: look at `overflow` once, at the
 * end. */
#ifndef VENEER_MACHINE_AML_H
#define VENEER_MACHINE_AML_H

#include <stdbool.h>
#include <stdint.h>

#define AML_DEPTH 8

struct aml {
	uint8_t *start, *next, *end;
	uint8_t *open[AML_DEPTH]; /* where the lengths of open packages go */
	unsigned depth;
	bool overflow;
};

/* Scope, device, package and resource template stay open until aml_close(). Names are four
 * characters, or a backslash and four. */
void aml_scope(struct aml *aml, const char *name);
void aml_device(struct aml *aml, const char *name);
void aml_package(struct aml *aml, uint8_t elements);
void aml_close(struct aml *aml);

/* Name (name, ...): the next thing written is its value. */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint32_t value);
void aml_eisa_id(struct aml *aml, const char *id);
void aml_string(struct aml *aml, const char *text);
/* Method (name, arguments) { Return (the argument of that number) }. */
void aml_method_returning(struct aml *aml, const char *name, uint8_t arguments, uint8_t returned);

/* Name (_CRS, ResourceTemplate () { ... }), with I/O port ranges, an ISA interrupt and a DMA
 * channel (ACPI 6.4, 6.4.2). Write all resources, then close. */
void aml_resources(struct aml *aml);
void aml_io(struct aml *aml, uint16_t port, uint8_t count);
void aml_irq(struct aml *aml, unsigned irq);
void aml_dma(struct aml *aml, unsigned channel);
void aml_memory_fixed(struct aml *aml, uint32_t start, uint32_t size);
/* What a bridge passes on to the bus behind it (6.4.3.5). */
enum aml_window { AML_WINDOW_BUSES, AML_WINDOW_PORTS, AML_WINDOW_MEMORY32, AML_WINDOW_MEMORY64 };
void aml_window(struct aml *aml, enum aml_window kind, uint64_t start, uint64_t size);
void aml_close_resources(struct aml *aml);

#endif
