/* Network block devices, served by nbdkit, and other formats, served by QEMU's programs; skipped
 * where these are missing. */
#include "disk_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#define SIZE (1 * MIB)

static bool has(const char *program)
{
	return system(words("command -v %s >/dev/null", program)) == 0;
}

static pid_t serve(const char *path)
{
	const char *socket = words("%s/socket", directory);
	pid_t pid = fork();

	if (pid == 0) {
		execlp("nbdkit", "nbdkit", "-f", "-U", socket, "file", path, NULL);
		_exit(127);
	}
	while (access(socket, F_OK) < 0)
		usleep(1000);
	return pid;
}

static void end_server(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(words("%s/socket", directory));
}

static const char *uri(void)
{
	return words("nbd+unix:///?socket=%s/socket", directory);
}

static void a_server_goes_and_comes_back(void **state)
{
	static uint8_t data[4096], got[4096];
	char *path = make_file("served", SIZE, model);
	struct started on;
	struct io io = {.data = got};
	pid_t pid;

	if (!has("nbdkit")) {
		unlink(path);
		skip();
	}
	pid = serve(path);
	on = start_config(uri());
	assert_int_equal(on.disk->size, SIZE);
	check_random(&on, model, SIZE, 50, 512);

	/* What was answered and not flushed is written again, what waits is sent again. */
	fill_random(data, sizeof(data));
	assert_int_equal(transfer(&on, DISK_WRITE, 8192, data, 4096, false), 0);
	end_server(pid);
	unlink(path);
	free(path);
	path = make_file("served", SIZE, NULL);
	io_scatter(&io, 4096, 512);
	io_begin(&io, &on, DISK_READ, 8192, 4096);
	usleep(50000);
	pid = serve(path);
	assert_int_equal(io_wait(&io), 0);
	assert_memory_equal(got, data, 4096);
	stop(&on);

	on = start_config(words("%s,reconnect=0", uri()));
	end_server(pid);
	assert_int_equal(transfer(&on, DISK_READ, 0, got, 4096, false), -EIO);
	stop(&on);
	unlink(path);
	free(path);
}

static void abandon(void *opaque)
{
	struct disk *disk = opaque;

	disk->ops->abandon(disk);
}

/* What would wait for a server that is gone, or does not answer, ends when the machine does. */
static void requests_are_abandoned(void **state)
{
	static const int signals[] = {SIGKILL, SIGSTOP};
	static uint8_t got[4096];
	char *path = make_file("served", SIZE, NULL);

	if (!has("nbdkit")) {
		unlink(path);
		skip();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = serve(path);
		struct started on = start_config(words("%s,reconnect=3600", uri()));
		struct io io = {.data = got};

		kill(pid, signals[i]);
		usleep(50000);
		io_scatter(&io, 4096, 512);
		io_begin(&io, &on, DISK_READ, 8192, 4096);
		worker_call(on.worker, abandon, on.disk);
		assert_int_equal(io_wait(&io), -EIO);
		stop(&on);
		end_server(pid);
	}
	unlink(path);
	free(path);
}

static void qcow2_is_read_and_written(void **state)
{
	char *path = strdup(words("%s/image.qcow2", directory));
	struct started on;

	if (!has("qemu-img") || (!has("qemu-storage-daemon") && !has("qemu-nbd")))
		skip();
	assert_int_equal(system(words("qemu-img create -q -f qcow2 %s 1M", path)), 0);
	memset(model, 0, SIZE);
	on = start_config(words("%s,format=qcow2", path));
	assert_int_equal(on.disk->size, SIZE);
	check_random(&on, model, SIZE, 30, 512);
	stop(&on);
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

static int setup(void **state)
{
	return make_model(state, SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_goes_and_comes_back),
		cmocka_unit_test(requests_are_abandoned),
		cmocka_unit_test(qcow2_is_read_and_written),
	};

	return cmocka_run_group_tests(tests, setup, free_model);
}
