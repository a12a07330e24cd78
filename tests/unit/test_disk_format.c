/* Images in other formats than raw, read and written by QEMU's programs; skipped where these are
 * missing. */
#include "nbd_fixture.h"

#include "host/disk/nbd_connect.h"

#define SIZE (1 * MIB)

static const char *const programs[] = {"qemu-storage-daemon", "qemu-nbd"};

/* Have only this one of the programs be found: the directory with it is all of PATH. */
static void choose(const char *program)
{
	const char *bin = words("%s/bin", directory);

	assert_int_equal(system(words("rm -rf %s && mkdir %s && ln -s $(command -v %s) %s", bin,
				 bin, program, bin)),
		0);
	setenv("PATH", bin, true);
}

static const struct {
	const char *format, *words;
	bool one; /* QEMU 7.2 asserts that it gets one write at a time */
} formats[] = {
	{"qcow2", "", false},
	{"qcow2", "-o cluster_size=4k,lazy_refcounts=on", false},
	{"qcow", "", false},
	{"qed", "", true},
	{"vmdk", "", false},
	{"vmdk", "-o subformat=monolithicFlat", false},
	{"vdi", "", false},
	{"vhdx", "", false},
	{"vpc", "", false},
};

static void formats_are_read_and_written(void **state)
{
	char *path, *saved = strdup(getenv("PATH"));

	assert_true(asprintf(&path, "%s/image", directory) > 0);
	for (unsigned i = 0; i < ARRAY_SIZE(programs) * ARRAY_SIZE(formats); i++) {
		const char *program = programs[i / ARRAY_SIZE(formats)];
		const char *format = formats[i % ARRAY_SIZE(formats)].format;
		const char *options = formats[i % ARRAY_SIZE(formats)].words;
		bool one = formats[i % ARRAY_SIZE(formats)].one;
		struct started on;

		if (!has_program("qemu-img") || !has_program(program))
			continue;
		print_message("%s %s by %s\n", format, options, program);
		assert_int_equal(
			system(words("qemu-img create -q -f %s %s %s 1M", format, options, path)),
			0);
		choose(program);
		memset(model, 0, SIZE);
		on = start_config(words("%s,format=%s", path, format));
		/* Some have cylinders, and no size but a multiple of those. */
		assert_true(on.disk->size >= SIZE);
		if (one) {
			fill_random(model, SIZE);
			assert_int_equal(transfer(&on, DISK_WRITE, 0, model, SIZE, false), 0);
		} else {
			check_random(&on, model, SIZE, 20, 512);
		}
		/* What was answered is there, without a flush, though the program ends. */
		stop(&on);
		on = start_config(words("%s,format=%s,readonly", path, format));
		check_contents(&on, model, SIZE);
		assert_int_equal(transfer(&on, DISK_WRITE, 0, model, 512, false), -EIO);
		stop(&on);
		setenv("PATH", saved, true);
		assert_int_equal(system(words("rm -rf %s* %s/bin", path, directory)), 0);
	}
	free(saved);
	free(path);
}

static void guesses_are_careful(void **state)
{
	char *path = strdup(words("%s/image.qcow2", directory));
	struct started on;

	if (!has_program("qemu-img") || !(has_program(programs[0]) || has_program(programs[1])))
		skip();
	assert_int_equal(system(words("qemu-img create -q -f qcow2 %s 1M", path)), 0);
	memset(model, 0, SIZE);
	on = start_config(words("%s,snapshot", path)); /* by its first bytes */
	assert_int_equal(on.disk->size, SIZE);
	check_random(&on, model, SIZE, 30, 512);
	stop(&on);
	/* One that names another file is not opened by a guess. */
	assert_int_equal(
		system(words("qemu-img create -q -f qcow2 -F qcow2 -b %s %s2", path, path)), 0);
	assert_int_equal(try_config(words("%s2", path)), -EINVAL);
	assert_int_equal(try_config(words("%s2,format=qcow2", path)), 0);
	assert_int_not_equal(try_config(words("%s,format=vhdx", path)), 0);
	unlink(words("%s2", path));
	unlink(path);
	free(path);
}

/* A helper reads the disk before and after it is opened, and while it is; a second program would be
 * refused, since the first has the image locked. */
static void one_program_serves_all(void **state)
{
	char *path = strdup(words("%s/image.qcow2", directory)), *saved = strdup(getenv("PATH"));

	for (unsigned i = 0; i < ARRAY_SIZE(programs); i++) {
		struct nbd_handle *helper;
		struct disk_config config;
		struct started on;
		uint8_t got[512];
		char *target;

		if (!has_program("qemu-img") || !has_program(programs[i]))
			continue;
		assert_int_equal(system(words("qemu-img create -q -f qcow2 %s 1M", path)), 0);
		choose(programs[i]);
		assert_int_equal(
			disk_config_parse(&config, "--disk", words("%s,format=qcow2", path)), 0);
		assert_null(disk_target(&config));
		assert_int_equal(disk_serve(&config), 0);
		assert_int_equal(disk_serve(&config), 0);
		target = strdup(disk_target(&config));
		helper = nbd_connect_once(target, -1);
		assert_non_null(helper);
		nbd_close(helper);
		on.disk = NULL;
		assert_int_equal(disk_open(&config, &on.disk), 0);
		on = start(on.disk);
		assert_int_equal(
			transfer(&on, DISK_WRITE, 512, memset(got, 7, 512), 512, false), 0);
		memset(got, 0, 512);
		helper = nbd_connect_once(target, -1);
		assert_non_null(helper);
		assert_int_equal(nbd_pread(helper, got, 512, 512, 0), 0);
		nbd_close(helper);
		assert_int_equal(got[511], 7);
		stop(&on);
		assert_int_equal(access(target, F_OK), 0);
		disk_server_drop(config.server);
		assert_int_equal(access(target, F_OK), -1);
		setenv("PATH", saved, true);
		assert_int_equal(system(words("rm -rf %s %s/bin", path, directory)), 0);
		free(config.path);
		free(target);
	}
	free(saved);
	free(path);
}

static int setup(void **state)
{
	return make_model(state, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(formats_are_read_and_written),
		cmocka_unit_test(guesses_are_careful),
		cmocka_unit_test(one_program_serves_all),
	};

	return cmocka_run_group_tests(tests, setup, free_model);
}
