/* What the files that hold QMP's commands share. */
#ifndef VENEER_CONTROL_QMP_INTERNAL_H
#define VENEER_CONTROL_QMP_INTERNAL_H

#include "control/qmp.h"

struct qmp_command {
	const char *name;
	/* Returns the content of the reply, or qmp_fail(), or NULL where the reply comes later.
	 * `arguments`: an object, or NULL; it is as the table says. */
	json_t *(*run)(struct qmp_session *session, json_t *arguments);
	const char *arguments;   /* members, as schema.h has them; "": there are none */
	const char *return_type; /* "": an empty object */
};
extern const struct qmp_command qmp_commands[]; /* ended by one without a name */

/* A command failed: what its function returns. The text is the reply's description. */
__attribute__((format(printf, 2, 3))) json_t *qmp_fail(
	struct qmp_session *session, const char *format, ...);
/* The same, for want of a thing with that name: with the class DeviceNotFound. */
json_t *qmp_fail_not_found(struct qmp_session *session, const char *name);

/* Have `run` give the reply once all processors stand; they go on after that, and no client is told
 * STOP or RESUME. What a command's function returns. */
json_t *qmp_run_stopped(struct qmp_session *session,
	json_t *(*run)(struct qmp_session *session, json_t *arguments), json_t *arguments);

#define QMP_UNATTACHED "/machine/unattached" /* where processors are in the tree of objects */
#define QMP_CPU_TYPE   "qemu64-x86_64-cpu"

/* The version of QEMU whose protocol this is, as VersionInfo. */
json_t *qmp_version(void);
/* The machine's state in one word of RunState. */
const char *qmp_run_state(const struct machine *machine);

/* --- commands: qmp.c --- */
json_t *qmp_capabilities(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_commands(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_events(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_schema(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_version(struct qmp_session *session, json_t *arguments);

/* --- qmp_life.c --- */
json_t *qmp_query_status(struct qmp_session *session, json_t *arguments);
json_t *qmp_stop(struct qmp_session *session, json_t *arguments);
json_t *qmp_cont(struct qmp_session *session, json_t *arguments);
json_t *qmp_quit(struct qmp_session *session, json_t *arguments);
json_t *qmp_system_powerdown(struct qmp_session *session, json_t *arguments);
json_t *qmp_system_reset(struct qmp_session *session, json_t *arguments);
json_t *qmp_system_wakeup(struct qmp_session *session, json_t *arguments);
json_t *qmp_inject_nmi(struct qmp_session *session, json_t *arguments);
json_t *qmp_watchdog_set_action(struct qmp_session *session, json_t *arguments);
json_t *qmp_set_action(struct qmp_session *session, json_t *arguments);

/* --- qmp_chardev.c --- */
json_t *qmp_query_chardev(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_chardev_backends(struct qmp_session *session, json_t *arguments);
json_t *qmp_chardev_add(struct qmp_session *session, json_t *arguments);
json_t *qmp_chardev_remove(struct qmp_session *session, json_t *arguments);
json_t *qmp_ringbuf_read(struct qmp_session *session, json_t *arguments);
json_t *qmp_ringbuf_write(struct qmp_session *session, json_t *arguments);

/* --- qmp_query.c --- */
json_t *qmp_query_target(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_kvm(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_name(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_uuid(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_machines(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_memory_size_summary(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_iothreads(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_migrate_capabilities(struct qmp_session *session, json_t *arguments);
json_t *qmp_migrate_set_capabilities(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_command_line_options(struct qmp_session *session, json_t *arguments);

/* --- qmp_cpu.c --- */
json_t *qmp_query_cpus_fast(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_hotpluggable_cpus(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_cpu_definitions(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_cpu_model_expansion(struct qmp_session *session, json_t *arguments);

/* --- qmp_qom.c --- */
json_t *qmp_qom_list_types(struct qmp_session *session, json_t *arguments);
json_t *qmp_qom_list_properties(struct qmp_session *session, json_t *arguments);
json_t *qmp_device_list_properties(struct qmp_session *session, json_t *arguments);
json_t *qmp_qom_list(struct qmp_session *session, json_t *arguments);
json_t *qmp_qom_get(struct qmp_session *session, json_t *arguments);
json_t *qmp_object_add(struct qmp_session *session, json_t *arguments);
json_t *qmp_object_del(struct qmp_session *session, json_t *arguments);

/* --- qmp_dump.c --- */
json_t *qmp_dump_guest_memory(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_dump_capability(struct qmp_session *session, json_t *arguments);

/* --- qmp_block.c, qmp_pci.c --- */
json_t *qmp_query_block(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_block_stats(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_named_block_nodes(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_pci(struct qmp_session *session, json_t *arguments);

/* --- qmp_plug.c --- */
json_t *qmp_device_add(struct qmp_session *session, json_t *arguments);
json_t *qmp_device_del(struct qmp_session *session, json_t *arguments);
json_t *qmp_blockdev_add(struct qmp_session *session, json_t *arguments);
json_t *qmp_blockdev_del(struct qmp_session *session, json_t *arguments);
json_t *qmp_netdev_add(struct qmp_session *session, json_t *arguments);
json_t *qmp_netdev_del(struct qmp_session *session, json_t *arguments);
/* What DEVICE_DELETED carries. */
json_t *qmp_deleted_data(const char *device);

/* --- qmp_fd.c --- */
json_t *qmp_getfd(struct qmp_session *session, json_t *arguments);
json_t *qmp_closefd(struct qmp_session *session, json_t *arguments);
json_t *qmp_add_fd(struct qmp_session *session, json_t *arguments);
json_t *qmp_remove_fd(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_fdsets(struct qmp_session *session, json_t *arguments);

/* --- qmp_input.c, qmp_screen.c, qmp_human.c --- */
json_t *qmp_send_key(struct qmp_session *session, json_t *arguments);
json_t *qmp_input_send_event(struct qmp_session *session, json_t *arguments);
json_t *qmp_query_vnc(struct qmp_session *session, json_t *arguments);
json_t *qmp_screendump(struct qmp_session *session, json_t *arguments);
json_t *qmp_human_monitor_command(struct qmp_session *session, json_t *arguments);

#endif
