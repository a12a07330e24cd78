/* What a guest kernel says: serial output, the lines of its checks, and how it ends. */
#include <stdarg.h>

#include "kernel.h"

static u32 passed, failed, skipped;

static void serial_init(void)
{
	outb(SERIAL_PORT + 3, 0x80);
	outb(SERIAL_PORT, 1); /* 115200 baud */
	outb(SERIAL_PORT + 1, 0);
	outb(SERIAL_PORT + 3, 3); /* 8 bits, no parity, 1 stop bit */
	outb(SERIAL_PORT + 1, 0); /* no interrupts */
}

static void put_char(char c)
{
	static bool initialized;

	if (!initialized) {
		initialized = true;
		serial_init();
	}
	if (c == '\n')
		put_char('\r');
	while (!(inb(SERIAL_PORT + 5) & 0x20))
		cpu_relax();
	outb(SERIAL_PORT, c);
}

static void put_string(const char *s)
{
	while (*s)
		put_char(*s++);
}

static void put_hex(u64 value)
{
	int shift = 60;

	put_string("0x");
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put_char("0123456789abcdef"[(value >> shift) & 15]);
}

static void put_decimal(u32 value)
{
	if (value >= 10)
		put_decimal(value / 10);
	put_char('0' + value % 10);
}

/* Knows %s, %c, %d, %u, %x, %lx and %llx; hexadecimal numbers get a 0x. */
static void vprint(const char *format, va_list args)
{
	for (; *format; format++) {
		int longs = 0;
		int number;

		if (*format != '%') {
			put_char(*format);
			continue;
		}
		while (*++format == 'l')
			longs++;
		switch (*format) {
		case 's':
			put_string(va_arg(args, const char *));
			break;
		case 'c':
			put_char(va_arg(args, int));
			break;
		case 'u':
			put_decimal(va_arg(args, u32));
			break;
		case 'd':
			number = va_arg(args, int);
			if (number < 0)
				put_char('-');
			put_decimal(number < 0 ? -(u32)number : (u32)number);
			break;
		case 'x':
			put_hex(longs == 0   ? va_arg(args, u32)
				: longs == 1 ? va_arg(args, ulong)
					     : va_arg(args, u64));
			break;
		default:
			put_char(*format);
		}
	}
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprint(format, args);
	va_end(args);
}

static void begin_line(bool ok, const char *format, va_list args)
{
	if (ok)
		passed++;
	else
		failed++;
	put_string(ok ? "PASS " : "FAIL ");
	vprint(format, args);
}

bool check(bool ok, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	begin_line(ok, format, args);
	va_end(args);
	put_char('\n');
	return ok;
}

bool check_eq(u64 got, u64 want, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	begin_line(got == want, format, args);
	va_end(args);
	if (got != want)
		print(": got %llx want %llx", got, want);
	put_char('\n');
	return got == want;
}

static const char *vector_name(int vector)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM",
		"#DF", "9", "#TS", "#NP", "#SS", "#GP", "#PF", "15", "#MF", "#AC", "#MC", "#XM"};

	if (vector == NO_TRAP)
		return "no trap";
	return vector < (int)(sizeof(names) / sizeof(names[0])) ? names[vector] : "interrupt";
}

/* Of these the saved IP points behind the instruction, not at it (SDM vol. 3A 6.5). */
static bool vector_is_trap(int vector)
{
	return vector == DB_VECTOR || vector == BP_VECTOR || vector == OF_VECTOR || vector >= 32;
}

static bool report_trap(int vector, u32 error, bool address_ok, const char *format, va_list args)
{
	bool ok = trap.vector == vector && address_ok;

	if (vector != NO_TRAP) {
		ok = ok && trap.error == error;
		if (!vector_is_trap(vector))
			ok = ok && trap.offset == 0;
	}
	begin_line(ok, format, args);
	if (!ok) {
		print(": got %s", vector_name(trap.vector));
		if (trap.vector != NO_TRAP)
			print("(%x) at +%lx cr2 %lx", trap.error, trap.offset, trap.cr2);
		print(" want %s", vector_name(vector));
		if (vector != NO_TRAP)
			print("(%x)", error);
	}
	put_char('\n');
	return ok;
}

bool check_trap(int vector, u32 error, const char *format, ...)
{
	va_list args;
	bool ok;

	va_start(args, format);
	ok = report_trap(vector, error, true, format, args);
	va_end(args);
	return ok;
}

bool check_no_trap(const char *format, ...)
{
	va_list args;
	bool ok;

	va_start(args, format);
	ok = report_trap(NO_TRAP, 0, true, format, args);
	va_end(args);
	return ok;
}

bool check_pf(u32 error, ulong address, const char *format, ...)
{
	va_list args;
	bool ok;

	va_start(args, format);
	ok = report_trap(PF_VECTOR, error, trap.cr2 == address, format, args);
	va_end(args);
	return ok;
}

void skip(const char *format, ...)
{
	va_list args;

	skipped++;
	put_string("SKIP ");
	va_start(args, format);
	vprint(format, args);
	va_end(args);
	put_char('\n');
}

void guest_exit(u32 value)
{
	outl(DEBUG_EXIT_PORT, value);
	print("nothing at the debug-exit port\n");
	for (;;)
		asm volatile("cli; hlt");
}

void guest_finish(void)
{
	print("SUMMARY %u passed, %u failed, %u skipped\n", passed, failed, skipped);
	guest_exit(failed || !passed);
}
