/* QEMU's object model, as far as clients look at it: the types that there are, with their
 * properties; and the tree of the machine, with its processors and the objects that were added. */
#include "control/qmp_internal.h"
#include "control/qom_types.h"
#include "control/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- types --- */

static bool is_abstract(const struct qom_type *type)
{
	for (const struct qom_type *other = qom_types; other->name; other++)
		if (other->parent && strcmp(other->parent, type->name) == 0)
			return true;
	return false;
}

json_t *qmp_qom_list_types(struct qmp_session *session, json_t *arguments)
{
	const char *implements = json_string_value(json_object_get(arguments, "implements"));
	bool abstract = json_is_true(json_object_get(arguments, "abstract"));
	json_t *list = json_array();

	for (const struct qom_type *type = qom_types; type->name; type++) {
		json_t *one;

		if ((implements && !qom_type_is(type, implements)) ||
			(is_abstract(type) && !abstract))
			continue;
		one = json_pack("{s:s}", "name", type->name);
		if (type->parent)
			json_object_set_new(one, "parent", json_string(type->parent));
		if (is_abstract(type))
			json_object_set_new(one, "abstract", json_true());
		json_array_append_new(list, one);
	}
	return list;
}

static json_t *describe_properties(const char *text)
{
	json_t *list = json_array();
	char word[64], *colon;

	while ((text = schema_word(text, word, sizeof(word)))) {
		colon = strchr(word, ':');
		*colon = '\0';
		json_array_append_new(
			list, json_pack("{s:s, s:s}", "name", word, "type", colon + 1));
	}
	return list;
}

static json_t *list_properties(struct qmp_session *session, json_t *arguments, const char *kind)
{
	const char *name = json_string_value(json_object_get(arguments, "typename"));
	const struct qom_type *type = qom_type_find(name);

	if (!type)
		return qmp_fail_not_found(session, name);
	if (!qom_type_is(type, kind) || is_abstract(type))
		return qmp_fail(session,
			"Parameter 'typename' expects a non-abstract type that is a '%s'", kind);
	return describe_properties(type->properties);
}

json_t *qmp_device_list_properties(struct qmp_session *session, json_t *arguments)
{
	return list_properties(session, arguments, "device");
}

json_t *qmp_qom_list_properties(struct qmp_session *session, json_t *arguments)
{
	return list_properties(session, arguments, "object");
}

/* --- the tree --- */

#define VGA "/machine/vga"

static void add_child(json_t *node, const char *name, const char *type)
{
	char text[96];

	snprintf(text, sizeof(text), "child<%s>", type);
	json_object_set_new(node, name, json_pack("{s:s, s:s}", "type", text, "value", ""));
}

static void add_property(json_t *node, const char *name, const char *type, json_t *value)
{
	json_object_set_new(node, name, json_pack("{s:s, s:o}", "type", type, "value", value));
}

static const char *machine_type(struct qmp_session *session, char *text, size_t size)
{
	const char *type = session->shared->machine_type;

	snprintf(text, size, "%.60s-machine", type ? type : "pc-q35-7.2");
	return text;
}

static json_t *root_node(struct qmp_session *session)
{
	json_t *node = json_object();
	char text[80];

	add_property(node, "type", "string", json_string("container"));
	add_child(node, "machine", machine_type(session, text, sizeof(text)));
	add_child(node, "objects", "container");
	add_child(node, "chardevs", "container");
	return node;
}

static json_t *machine_node(struct qmp_session *session)
{
	json_t *node = json_object();
	char text[80];

	add_property(
		node, "type", "string", json_string(machine_type(session, text, sizeof(text))));
	add_child(node, "unattached", "container");
	add_child(node, "peripheral", "container");
	add_child(node, "peripheral-anon", "container");
	if (display_exists(&session->machine->display))
		add_property(node, "vga", "link<VGA>", json_string(VGA));
	return node;
}

static json_t *empty_node(struct qmp_session *session)
{
	json_t *node = json_object();

	add_property(node, "type", "string", json_string("container"));
	return node;
}

static json_t *unattached_node(struct qmp_session *session)
{
	json_t *node = empty_node(session);
	char name[32];

	for (unsigned i = 0; i < session->machine->config.cpu_count; i++) {
		snprintf(name, sizeof(name), "device[%u]", i);
		add_child(node, name, QMP_CPU_TYPE);
	}
	return node;
}

/* libvirt looks for a link to it, to ask for its memory. */
static json_t *vga_node(struct qmp_session *session)
{
	json_t *node = json_object();

	add_property(node, "type", "string", json_string("VGA"));
	add_property(node, "realized", "bool", json_true());
	add_property(node, "vgamem_mb", "uint32", json_integer(MEMORY_VIDEO / MIB));
	return node;
}

static json_t *objects_node(struct qmp_session *session)
{
	json_t *node = empty_node(session), *object;
	const char *id;

	json_object_foreach(session->shared->objects, id, object)
	{
		add_child(node, id, json_string_value(json_object_get(object, "qom-type")));
	}
	return node;
}

/* A device of the user's with that name: its type; NULL: there is none. */
static const char *device_type(const struct machine *machine, const char *id)
{
	const struct machine_config *config = &machine->config;

	for (unsigned i = 0; *id && i < config->disk_count; i++)
		if (strcmp(config->disks[i].place.id, id) == 0)
			return config->disks[i].bus == DISK_BUS_VIRTIO ? "virtio-blk-pci"
			       : config->disks[i].bus == DISK_BUS_NVME ? "nvme"
			       : config->disks[i].cdrom                ? "ide-cd"
								       : "ide-hd";
	for (unsigned i = 0; *id && i < config->net_count; i++)
		if (strcmp(config->nets[i].place.id, id) == 0)
			return config->nets[i].model == NET_E1000 ? "e1000" : "virtio-net-pci";
	for (unsigned i = 0; *id && i < config->port_count; i++)
		if (strcmp(config->ports[i].place.id, id) == 0)
			return config->ports[i].bus_0 ? "pci-bridge" : "pcie-root-port";
	return NULL;
}

static void add_peripheral(json_t *node, const struct machine *machine, const char *id)
{
	if (*id)
		add_child(node, id, device_type(machine, id));
}

static json_t *peripheral_node(struct qmp_session *session)
{
	const struct machine *machine = session->machine;
	json_t *node = empty_node(session);

	for (unsigned i = 0; i < machine->config.disk_count; i++)
		add_peripheral(node, machine, machine->config.disks[i].place.id);
	for (unsigned i = 0; i < machine->config.net_count; i++)
		add_peripheral(node, machine, machine->config.nets[i].place.id);
	for (unsigned i = 0; i < machine->config.port_count; i++)
		add_peripheral(node, machine, machine->config.ports[i].place.id);
	return node;
}

static const struct {
	const char *path;
	json_t *(*make)(struct qmp_session *session);
} nodes[] = {
	{"/", root_node},
	{"/machine", machine_node},
	{"/machine/unattached", unattached_node},
	{"/machine/peripheral", peripheral_node},
	{"/machine/peripheral-anon", empty_node},
	{"/objects", objects_node},
	{"/chardevs", empty_node},
};

static json_t *cpu_node(struct qmp_session *session, unsigned long index)
{
	json_t *node = json_object();

	if (index >= session->machine->config.cpu_count) {
		json_decref(node);
		return NULL;
	}
	add_property(node, "type", "string", json_string(QMP_CPU_TYPE));
	add_property(node, "realized", "bool", json_true());
	add_property(node, "hotplugged", "bool", json_false());
	add_property(node, "hotpluggable", "bool", json_false());
	add_property(node, "apic-id", "uint32", json_integer((json_int_t)index));
	add_property(node, "socket-id", "int32", json_integer((json_int_t)index));
	add_property(node, "core-id", "int32", json_integer(0));
	add_property(node, "thread-id", "int32", json_integer(0));
	add_property(node, "unavailable-features", "strList", json_array());
	return node;
}

/* An object that object-add has made: what it was made with. */
static json_t *object_node(const json_t *object)
{
	json_t *node = json_object(), *value;
	const char *name;

	json_object_foreach((json_t *)object, name, value)
	{
		add_property(node, strcmp(name, "qom-type") == 0 ? "type" : name,
			json_is_string(value)    ? "string"
			: json_is_boolean(value) ? "bool"
						 : "int",
			json_incref(value));
	}
	return node;
}

static json_t *device_node(struct qmp_session *session, const char *id)
{
	const char *type = device_type(session->machine, id);
	json_t *node;

	if (!type)
		return NULL;
	node = json_object();
	add_property(node, "type", "string", json_string(type));
	add_property(node, "realized", "bool", json_true());
	return node;
}

/* Without parts that are empty, which count for nothing ("//machine"). False: it is too long to
 * name anything. */
static bool tidy_path(char *tidy, size_t size, const char *path)
{
	size_t length = 0;

	for (; *path; path++) {
		if (*path == '/' && (path[1] == '/' || (!path[1] && length)))
			continue;
		if (length + 1 == size)
			return false;
		tidy[length++] = *path;
	}
	tidy[length] = '\0';
	return true;
}

/* NULL with a failure: there is no such object. */
static json_t *find_node(struct qmp_session *session, const char *said)
{
	char path[300];
	static const char cpu[] = QMP_UNATTACHED "/device[", objects[] = "/objects/",
			  peripheral[] = "/machine/peripheral/";
	json_t *node = NULL, *object;
	char *end;

	if (!tidy_path(path, sizeof(path), said))
		return qmp_fail_not_found(session, said);
	for (size_t i = 0; i < ARRAY_SIZE(nodes); i++)
		if (strcmp(nodes[i].path, path) == 0)
			return nodes[i].make(session);
	if (strncmp(path, cpu, strlen(cpu)) == 0) {
		unsigned long index = strtoul(path + strlen(cpu), &end, 10);

		if (strcmp(end, "]") == 0)
			node = cpu_node(session, index);
	} else if (strcmp(path, VGA) == 0 && display_exists(&session->machine->display)) {
		node = vga_node(session);
	} else if (strncmp(path, peripheral, strlen(peripheral)) == 0) {
		node = device_node(session, path + strlen(peripheral));
	} else if (strncmp(path, objects, strlen(objects)) == 0) {
		object = json_object_get(session->shared->objects, path + strlen(objects));
		node = object ? object_node(object) : NULL;
	}
	return node ? node : qmp_fail_not_found(session, path);
}

json_t *qmp_qom_list(struct qmp_session *session, json_t *arguments)
{
	json_t *node = find_node(session, json_string_value(json_object_get(arguments, "path")));
	json_t *list, *property;
	const char *name;

	if (!node)
		return NULL;
	list = json_array();
	json_object_foreach(node, name, property)
	{
		json_array_append_new(list, json_pack("{s:s, s:O}", "name", name, "type",
						    json_object_get(property, "type")));
	}
	json_decref(node);
	return list;
}

json_t *qmp_qom_get(struct qmp_session *session, json_t *arguments)
{
	const char *path = json_string_value(json_object_get(arguments, "path"));
	const char *name = json_string_value(json_object_get(arguments, "property"));
	json_t *node = find_node(session, path), *value;

	if (!node)
		return NULL;
	value = json_incref(json_object_get(json_object_get(node, name), "value"));
	json_decref(node);
	return value ? value : qmp_fail(session, "Property '%.100s' not found", name);
}

/* --- objects --- */

#define MOST_OBJECTS 256

/* What is behind a machine's memory and devices is said when it is made: an object that is added
 * later is kept, shown and removed, for clients that come with one for each device. */
json_t *qmp_object_add(struct qmp_session *session, json_t *arguments)
{
	struct qmp_shared *shared = session->shared;
	const char *id = json_string_value(json_object_get(arguments, "id"));
	struct schema_fault fault;

	if (!schema_check_type("ObjectOptions", arguments, &fault))
		return qmp_fail(session, "%s", fault.text);
	if (!shared->objects)
		shared->objects = json_object();
	if (!*id || strpbrk(id, "/ "))
		return qmp_fail(session, "Parameter 'id' expects an identifier");
	if (json_object_get(shared->objects, id))
		return qmp_fail(session, "attempt to add duplicate property '%.60s' to object", id);
	if (json_object_size(shared->objects) >= MOST_OBJECTS)
		return qmp_fail(session, "There are too many objects");
	json_object_set(shared->objects, id, arguments);
	return json_object();
}

json_t *qmp_object_del(struct qmp_session *session, json_t *arguments)
{
	const char *id = json_string_value(json_object_get(arguments, "id"));

	if (json_object_del(session->shared->objects, id) < 0)
		return qmp_fail(session, "object '%.60s' not found", id);
	return json_object();
}
