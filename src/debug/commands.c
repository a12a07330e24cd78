/* The commands, as GDB's manual has them in appendix E; and those of QEMU's own. */
#include "debug/commands.h"

#include "debug/memory.h"
#include "debug/registers.h"

#include <stdlib.h>
#include <string.h>

typedef bool command(struct session *session, struct packet_text *text);

static struct cpu *current(const struct session *session)
{
	return session->machine->cpus[session->cpu];
}

static unsigned cpu_count(const struct session *session)
{
	return session->machine->config.cpu_count;
}

static uint64_t all_cpus(const struct session *session)
{
	return ~UINT64_C(0) >> (64 - cpu_count(session));
}

static bool reply(struct session *session, const char *text)
{
	packet_text(&session->out, text);
	return true;
}

static bool reply_done(struct session *session, bool done)
{
	return reply(session, done ? "OK" : COMMAND_WRONG);
}

/* --- threads: vCPU n is number n + 1 --- */

enum thread { THREAD_ONE, THREAD_ANY, THREAD_ALL };

/* False: it is none of ours. */
static bool take_thread(const struct session *session, struct packet_text *text,
	enum thread *thread, unsigned *index)
{
	uint64_t number;

	if (packet_take_word(text, "-1")) {
		*thread = THREAD_ALL;
		return true;
	}
	if (!packet_take_number(text, &number) || number > cpu_count(session))
		return false;
	*thread = number ? THREAD_ONE : THREAD_ANY;
	*index = number ? (unsigned)number - 1 : session->cpu;
	return true;
}

static bool set_thread(struct session *session, struct packet_text *text)
{
	bool step = packet_take_char(text, 'c');
	enum thread thread;
	unsigned index;

	if ((!step && !packet_take_char(text, 'g')) || !take_thread(session, text, &thread, &index))
		return reply(session, COMMAND_WRONG);
	if (thread == THREAD_ALL)
		index = session->cpu;
	if (step)
		session->step_cpu = index;
	else
		session->cpu = index;
	return reply(session, "OK");
}

static bool thread_alive(struct session *session, struct packet_text *text)
{
	enum thread thread;
	unsigned index;

	return reply_done(
		session, take_thread(session, text, &thread, &index) && thread == THREAD_ONE);
}

static bool current_thread(struct session *session, struct packet_text *text)
{
	packet_format(&session->out, "QC%02x", session->cpu + 1);
	return true;
}

static bool first_threads(struct session *session, struct packet_text *text)
{
	for (unsigned i = 0; i < cpu_count(session); i++)
		packet_format(&session->out, "%c%02x", i ? ',' : 'm', i + 1);
	return true;
}

static bool no_more_threads(struct session *session, struct packet_text *text)
{
	return reply(session, "l");
}

static bool thread_info(struct session *session, struct packet_text *text)
{
	static const char *const activity[] = {[ACTIVITY_RUNNING] = "running",
		[ACTIVITY_HALTED] = "halted",
		[ACTIVITY_WAIT_FOR_SIPI] = "waits for SIPI",
		[ACTIVITY_SHUTDOWN] = "shut down"};
	char name[40];
	enum thread thread;
	unsigned index;

	if (!packet_take_char(text, ',') || !take_thread(session, text, &thread, &index) ||
		thread != THREAD_ONE)
		return reply(session, COMMAND_WRONG);
	snprintf(name, sizeof(name), "CPU#%u [%s]", index,
		activity[session->machine->cpus[index]->activity]);
	packet_hex(&session->out, name, strlen(name));
	return true;
}

/* --- registers --- */

static bool read_registers(struct session *session, struct packet_text *text)
{
	uint8_t bytes[REGISTERS_ROOM];

	packet_hex(&session->out, bytes, registers_read(current(session), bytes));
	return true;
}

static bool write_registers(struct session *session, struct packet_text *text)
{
	uint8_t bytes[REGISTERS_ROOM];
	size_t size = packet_left(text) / 2;

	return reply_done(session, size <= sizeof(bytes) && packet_take_bytes(text, bytes, size) &&
					   registers_write(current(session), bytes, size));
}

/* A number that fits, so that it stays what it is when it is cut to 32 bits. */
static bool take_register(const struct session *session, struct packet_text *text, unsigned *number)
{
	uint64_t value;

	if (!packet_take_number(text, &value) ||
		value >= registers_count(session->machine->cpus[0]->model))
		return false;
	*number = (unsigned)value;
	return true;
}

static bool read_register(struct session *session, struct packet_text *text)
{
	uint8_t bytes[REGISTER_LARGEST];
	unsigned number;

	if (!take_register(session, text, &number))
		return reply(session, COMMAND_WRONG);
	packet_hex(&session->out, bytes, register_read(current(session), number, bytes));
	return true;
}

static bool write_register(struct session *session, struct packet_text *text)
{
	uint8_t bytes[REGISTER_LARGEST];
	unsigned number;

	return reply_done(
		session, take_register(session, text, &number) && packet_take_char(text, '=') &&
				 packet_take_bytes(text, bytes,
					 register_size(current(session)->model, number)) &&
				 register_write(current(session), number, bytes));
}

/* --- memory --- */

static bool take_range(struct packet_text *text, uint64_t *address, uint64_t *size)
{
	return packet_take_number(text, address) && packet_take_char(text, ',') &&
	       packet_take_number(text, size);
}

static bool read_memory(struct session *session, struct packet_text *text)
{
	uint8_t bytes[PACKET_LONGEST / 2];
	uint64_t address, size;
	size_t got;

	if (!take_range(text, &address, &size))
		return reply(session, COMMAND_WRONG);
	size = MIN(size, sizeof(bytes));
	got = debug_memory_read(current(session), session->physical, address, bytes, size);
	if (size && !got)
		return reply(session, COMMAND_FAULT);
	packet_hex(&session->out, bytes, got);
	return true;
}

static bool store(struct session *session, uint64_t address, const void *bytes, size_t size)
{
	bool done = debug_memory_write(current(session), session->physical, address, bytes, size);

	return reply(session, done ? "OK" : COMMAND_FAULT);
}

static bool write_memory(struct session *session, struct packet_text *text)
{
	uint8_t bytes[PACKET_LONGEST / 2];
	uint64_t address, size;

	if (!take_range(text, &address, &size) || !packet_take_char(text, ':') ||
		size > sizeof(bytes) || !packet_take_bytes(text, bytes, size) || packet_left(text))
		return reply(session, COMMAND_WRONG);
	return store(session, address, bytes, size);
}

static bool write_binary(struct session *session, struct packet_text *text)
{
	uint64_t address, size;

	if (!take_range(text, &address, &size) || !packet_take_char(text, ':') ||
		packet_left(text) != size)
		return reply(session, COMMAND_WRONG);
	return store(session, address, text->at, size);
}

static bool ask_physical(struct session *session, struct packet_text *text)
{
	return reply(session, session->physical ? "1" : "0");
}

static bool set_physical(struct session *session, struct packet_text *text)
{
	uint64_t on;

	if (!packet_take_char(text, ':') || !packet_take_number(text, &on) || on > 1)
		return reply(session, COMMAND_WRONG);
	session->physical = on;
	return reply(session, "OK");
}

/* --- running --- */

/* What an optional address after `c` and `s` says. */
static bool set_address(struct session *session, struct packet_text *text)
{
	struct cpu_state state;
	uint64_t address;

	if (!packet_left(text))
		return true;
	if (!packet_take_number(text, &address))
		return false;
	cpu_get_state(current(session), &state);
	state.rip = address;
	return cpu_set_state(current(session), &state) == 0;
}

/* The signal that C and S bring is gdb's to know: no guest takes any. */
static void skip_signal(struct packet_text *text)
{
	uint64_t signal;

	if (packet_take_number(text, &signal))
		packet_take_char(text, ';');
}

static bool run_all(struct session *session, struct packet_text *text, uint64_t step)
{
	if (!set_address(session, text))
		return reply(session, COMMAND_WRONG);
	session_run(session, 0, step);
	return false;
}

static bool go_on(struct session *session, struct packet_text *text)
{
	return run_all(session, text, 0);
}

static bool go_on_signal(struct session *session, struct packet_text *text)
{
	skip_signal(text);
	return run_all(session, text, 0);
}

static bool step(struct session *session, struct packet_text *text)
{
	return run_all(session, text, BIT(session->step_cpu));
}

static bool step_signal(struct session *session, struct packet_text *text)
{
	skip_signal(text);
	return run_all(session, text, BIT(session->step_cpu));
}

static bool list_actions(struct session *session, struct packet_text *text)
{
	return reply(session, "vCont;c;C;s;S");
}

/* One action, and for which vCPUs. */
static bool take_action(
	const struct session *session, struct packet_text *text, bool *stepped, uint64_t *cpus)
{
	enum thread thread = THREAD_ALL;
	unsigned index = 0;
	uint64_t signal;

	if (!packet_take_char(text, ';'))
		return false;
	if (packet_take_char(text, 's') || packet_take_char(text, 'c')) {
		*stepped = text->at[-1] == 's';
	} else if (packet_take_char(text, 'S') || packet_take_char(text, 'C')) {
		*stepped = text->at[-1] == 'S';
		if (!packet_take_number(text, &signal))
			return false;
	} else {
		return false;
	}
	if (packet_take_char(text, ':') && !take_thread(session, text, &thread, &index))
		return false;
	*cpus = thread == THREAD_ALL ? all_cpus(session) : BIT(index);
	return true;
}

/* The first action that names a vCPU counts for it; one that none names stays stopped. */
static bool run_each(struct session *session, struct packet_text *text)
{
	uint64_t held = all_cpus(session), stepping = 0, cpus;
	bool stepped;

	while (packet_left(text)) {
		if (!take_action(session, text, &stepped, &cpus))
			return reply(session, COMMAND_WRONG);
		cpus &= held;
		held &= ~cpus;
		stepping |= stepped ? cpus : 0;
	}
	if (held == all_cpus(session))
		return reply(session, COMMAND_WRONG);
	session_run(session, held, stepping);
	return false;
}

static bool why_stopped(struct session *session, struct packet_text *text)
{
	session_put_stop(session);
	return true;
}

/* The answer comes before the machine runs, which it may do for a long time. */
static bool detach(struct session *session, struct packet_text *text)
{
	reply(session, "OK");
	session_detach(session);
	return true;
}

static bool kill_machine(struct session *session, struct packet_text *text)
{
	machine_request_end(session->machine, MACHINE_QUIT, true);
	return false;
}

static bool kill_with_answer(struct session *session, struct packet_text *text)
{
	kill_machine(session, text);
	return reply(session, "OK");
}

/* --- what gdb asks for at the beginning --- */

static bool contains(const struct packet_text *text, const char *word)
{
	return memmem(text->at, packet_left(text), word, strlen(word)) != NULL;
}

static bool supported(struct session *session, struct packet_text *text)
{
	session->says_breakpoints = contains(text, "swbreak+") && contains(text, "hwbreak+");
	packet_format(&session->out,
		"PacketSize=%zx;qXfer:features:read+;vContSupported+;QStartNoAckMode+",
		PACKET_LONGEST);
	if (session->says_breakpoints)
		packet_text(&session->out, ";swbreak+;hwbreak+");
	return true;
}

static bool no_acks(struct session *session, struct packet_text *text)
{
	session->no_acks = true;
	return reply(session, "OK");
}

/* The machine was there before gdb: when that goes, it lets it run. */
static bool attached(struct session *session, struct packet_text *text)
{
	return reply(session, "1");
}

static bool read_description(struct session *session, struct packet_text *text)
{
	uint64_t offset, size;
	size_t length;

	if (!packet_take_word(text, ":features:read:target.xml:") ||
		!take_range(text, &offset, &size))
		return reply(session, "E00");
	if (!session->description)
		session->description = registers_description(current(session)->model);
	if (!session->description)
		return reply(session, "E0c"); /* ENOMEM */
	length = strlen(session->description);
	offset = MIN(offset, length);
	size = MIN(size, PACKET_LONGEST - 1);
	size = MIN(size, length - offset);
	packet_text(&session->out, offset + size < length ? "m" : "l");
	packet_put(&session->out, session->description + offset, size);
	return true;
}

/* --- QEMU's own --- */

/* How steps are done: always without interrupts and with the machine's clock standing. */
static bool step_bits(struct session *session, struct packet_text *text)
{
	return reply(session, "ENABLE=1,NOIRQ=2,NOTIMER=4");
}

static bool ask_step_bits(struct session *session, struct packet_text *text)
{
	return reply(session, "0x7");
}

static bool set_step_bits(struct session *session, struct packet_text *text)
{
	uint64_t bits;

	if (!packet_take_char(text, '='))
		return reply(session, COMMAND_WRONG);
	packet_take_word(text, "0x");
	return reply_done(session, packet_take_number(text, &bits) && bits == 7);
}

static bool qemu_supported(struct session *session, struct packet_text *text)
{
	return reply(session, "sstepbits;sstep;PhyMemMode");
}

static bool monitor(struct session *session, struct packet_text *text)
{
	char line[512] = "", *answer;
	size_t size = packet_left(text) ? (packet_left(text) - 1) / 2 : 0;

	if (!packet_take_char(text, ',') || size >= sizeof(line) ||
		!packet_take_bytes(text, line, size))
		return reply(session, COMMAND_WRONG);
	if (!session->monitor)
		return true; /* which gdb knows as: there is no monitor */
	answer = session->monitor(session->monitor_opaque, line, session->cpu);
	if (answer && *answer)
		packet_hex(&session->out, answer, MIN(strlen(answer), PACKET_LONGEST / 2));
	else
		reply(session, answer ? "OK" : COMMAND_WRONG);
	free(answer);
	return true;
}

/* --- the table --- */

/* A name of several letters is followed by the packet's end or by one of ":;,=". */
static const struct row {
	const char *name;
	command *run;
} table[] = {
	{"?", why_stopped},
	{"c", go_on},
	{"C", go_on_signal},
	{"D", detach},
	{"g", read_registers},
	{"G", write_registers},
	{"H", set_thread},
	{"k", kill_machine},
	{"m", read_memory},
	{"M", write_memory},
	{"p", read_register},
	{"P", write_register},
	{"s", step},
	{"S", step_signal},
	{"T", thread_alive},
	{"X", write_binary},
	{"z", command_remove_point},
	{"Z", command_insert_point},
	{"qAttached", attached},
	{"qC", current_thread},
	{"qfThreadInfo", first_threads},
	{"qRcmd", monitor},
	{"qsThreadInfo", no_more_threads},
	{"qSupported", supported},
	{"qThreadExtraInfo", thread_info},
	{"qXfer", read_description},
	{"QStartNoAckMode", no_acks},
	{"qqemu.PhyMemMode", ask_physical},
	{"Qqemu.PhyMemMode", set_physical},
	{"qqemu.sstepbits", step_bits},
	{"qqemu.sstep", ask_step_bits},
	{"Qqemu.sstep", set_step_bits},
	{"qqemu.Supported", qemu_supported},
	{"vCont", run_each},
	{"vCont?", list_actions},
	{"vKill", kill_with_answer},
};

static bool is_named(const struct row *row, const struct packet_text *text)
{
	struct packet_text rest = *text;

	if (!packet_take_word(&rest, row->name))
		return false;
	return !row->name[1] || !packet_left(&rest) || memchr(":;,=", *rest.at, 4);
}

bool command_run(struct session *session, struct packet_text *text)
{
	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		if (is_named(&table[i], text)) {
			text->at += strlen(table[i].name);
			return table[i].run(session, text);
		}
	return true; /* an empty answer: not known */
}
