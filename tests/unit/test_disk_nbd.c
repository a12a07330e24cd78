/* Network block devices, served by nbdkit; skipped where that is missing. */
#include "nbd_fixture.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <time.h>

#define SIZE (1 * MIB)

static const char *uri(void)
{
	return words("nbd+unix:///?socket=%s/socket", directory);
}

static pid_t serve_file(const char *path)
{
	return serve_words(words("%s/socket", directory), words("file %s", path));
}

static bool missing(void)
{
	return !has_program("nbdkit");
}

static void a_server_goes_and_comes_back(void **state)
{
	static uint8_t data[4096], got[4096];
	char *path = make_file("served", SIZE, model);
	struct started on;
	struct io io = {.data = got};
	pid_t pid;

	if (missing()) {
		unlink(path);
		skip();
	}
	pid = serve_file(path);
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
	pid = serve_file(path);
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

	if (missing()) {
		unlink(path);
		skip();
	}
	for (unsigned i = 0; i < ARRAY_SIZE(signals); i++) {
		pid_t pid = serve_file(path);
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

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* Requests fail when the patience is over, and those that come later at once; till the server is
 * back. */
static void patience_runs_out(void **state)
{
	static uint8_t got[4096];
	char *path = make_file("served", SIZE, model);
	struct started on;
	double start;
	pid_t pid;

	if (missing()) {
		unlink(path);
		skip();
	}
	pid = serve_file(path);
	on = start_config(words("%s,reconnect=1", uri()));
	end_server(pid);
	start = now();
	assert_int_equal(transfer(&on, DISK_READ, 0, got, 4096, false), -EIO);
	assert_true(now() - start > 0.9);
	start = now();
	assert_int_equal(transfer(&on, DISK_WRITE, 0, got, 4096, false), -EIO);
	assert_true(now() - start < 0.9);
	pid = serve_file(path);
	while (transfer(&on, DISK_READ, 0, got, 4096, false) && now() - start < 30)
		usleep(10000);
	assert_memory_equal(got, model, 4096);
	stop(&on);
	end_server(pid);
	unlink(path);
	free(path);
}

/* --- servers that can do less --- */

#define SCRIPT                                                                                     \
	"eval get_size='echo 1048576' can_write='exit 0' "                                         \
	"pread='dd if=%s iflag=skip_bytes,count_bytes,fullblock skip=$4 count=$3 2>/dev/null' "    \
	"pwrite='dd of=%s conv=notrunc oflag=seek_bytes seek=$4 2>/dev/null' "

static const struct {
	const char *what, *words;
	bool discards, flushes;
} servers[] = {
	{"one that can all", "file %s", true, true},
	{"no FUA", "--filter=fua file %s", true, true},
	{"no structured replies", "--no-sr file %s", true, true},
	{"no zeroes", "--filter=nozero file %s", true, true},
	{"requests of 32 KiB at most",
		"--filter=blocksize-policy file %s blocksize-minimum=512 blocksize-preferred=4096 "
		"blocksize-maximum=32768 blocksize-error-policy=error",
		true, true},
	{"no flush", SCRIPT "can_flush='exit 3'", false, false},
	{"flush, and nothing else", SCRIPT "can_flush='exit 0' flush='exit 0'", false, true},
};

static void servers_that_can_less_are_used(void **state)
{
	for (unsigned i = 0; i < ARRAY_SIZE(servers); i++) {
		char *path = make_file("served", SIZE, model);
		struct started on;
		pid_t pid;

		if (missing()) {
			unlink(path);
			skip();
		}
		print_message("%s\n", servers[i].what);
		pid = serve_words(
			words("%s/socket", directory), words(servers[i].words, path, path));
		on = start_config(uri());
		assert_int_equal(on.disk->size, SIZE);
		assert_int_equal(on.disk->can_discard, servers[i].discards);
		/* A script is called for each command. */
		check_random(&on, model, SIZE, strncmp(servers[i].words, "eval", 4) ? 30 : 3, 512);
		stop(&on);
		end_server(pid);
		unlink(path);
		free(path);
	}
}

/* What a guest was told is durable is there though the server dies, whatever it can do. */
static void writes_are_remembered_till_a_flush(void **state)
{
	static const char *const filters[] = {"", "--filter=fua"};
	static uint8_t data[2][4096], got[4096];

	for (unsigned i = 0; i < ARRAY_SIZE(filters); i++) {
		char *path = make_file("served", SIZE, NULL);
		struct started on;
		pid_t pid;

		if (missing()) {
			unlink(path);
			skip();
		}
		pid = serve_words(
			words("%s/socket", directory), words("%s file %s", filters[i], path));
		on = start_config(uri());
		fill_random(data[0], 4096);
		fill_random(data[1], 4096);
		assert_int_equal(transfer(&on, DISK_WRITE, 0, data[0], 4096, true), 0);
		assert_int_equal(transfer(&on, DISK_WRITE, 4096, data[1], 4096, false), 0);
		end_server(pid);
		unlink(path);
		free(path);
		/* It comes back with what it had at the beginning: the first write was made
		 * durable, so that is its own affair; the second is written again. */
		path = make_file("served", SIZE, model);
		pid = serve_words(
			words("%s/socket", directory), words("%s file %s", filters[i], path));
		assert_int_equal(transfer(&on, DISK_FLUSH, 0, NULL, 0, false), 0);
		assert_int_equal(transfer(&on, DISK_READ, 0, got, 4096, false), 0);
		assert_memory_equal(got, model, 4096);
		assert_int_equal(transfer(&on, DISK_READ, 4096, got, 4096, false), 0);
		assert_memory_equal(got, data[1], 4096);
		stop(&on);
		end_server(pid);
		unlink(path);
		free(path);
	}
}

static void a_server_may_be_read_only(void **state)
{
	static uint8_t got[4096];
	char *path = make_file("served", SIZE, model);
	struct started on;
	pid_t pid;

	if (missing()) {
		unlink(path);
		skip();
	}
	pid = serve_words(words("%s/socket", directory), words("-r file %s", path));
	assert_int_equal(try_config(uri()), -EROFS);
	on = start_config(words("%s,readonly", uri()));
	assert_int_equal(transfer(&on, DISK_WRITE, 0, got, 4096, false), -EIO);
	assert_int_equal(transfer(&on, DISK_READ, 4096, got, 4096, false), 0);
	assert_memory_equal(got, model + 4096, 4096);
	stop(&on);
	on = start_config(words("%s,snapshot", uri()));
	check_random(&on, model, SIZE, 10, 512);
	stop(&on);
	end_server(pid);
	unlink(path);
	free(path);
}

/* Errors reach the request that they are of, and no other. */
static void a_server_s_errors_are_told(void **state)
{
	static uint8_t data[8192];
	char *flag, *path = make_file("served", SIZE, model);
	struct started on;
	pid_t pid;

	if (missing()) {
		unlink(path);
		skip();
	}
	assert_true(asprintf(&flag, "%s/fail", directory) > 0);
	for (unsigned structured = 0; structured < 2; structured++) {
		pid = serve_words(words("%s/socket", directory),
			words("%s --filter=error file %s error-file=%s error-rate=100%% "
			      "error=ENOSPC",
				structured ? "" : "--no-sr", path, flag));
		on = start_config(uri());
		assert_int_equal(transfer(&on, DISK_READ, 0, data, 4096, false), 0);
		close(open(flag, O_CREAT | O_WRONLY, 0600));
		assert_int_equal(transfer(&on, DISK_READ, 0, data, 4096, false), -ENOSPC);
		assert_int_equal(transfer(&on, DISK_WRITE, 0, data, 4096, false), -ENOSPC);
		assert_int_equal(transfer(&on, DISK_WRITE, 0, data, 4096, true), -ENOSPC);
		assert_int_equal(transfer(&on, DISK_WRITE_ZEROES, 0, NULL, 4096, false), -ENOSPC);
		unlink(flag);
		assert_int_equal(transfer(&on, DISK_READ, 0, data, 4096, false), 0);
		assert_memory_equal(data, model, 4096);
		assert_int_equal(transfer(&on, DISK_FLUSH, 0, NULL, 0, false), 0);
		stop(&on);
		end_server(pid);
	}
	unlink(path);
	free(flag);
	free(path);
}

/* --- TCP --- */

static atomic_bool names_hang;
static atomic_uint names_asked;

/* Instead of the C library's: a name server that does not answer. */
__attribute__((visibility("default"))) int getaddrinfo(const char *node, const char *service,
	const struct addrinfo *hints, struct addrinfo **result)
{
	typeof(getaddrinfo) *real = (typeof(real))dlsym(RTLD_NEXT, "getaddrinfo");

	names_asked++;
	while (names_hang)
		usleep(1000);
	return real(node, service, hints, result);
}

static unsigned free_port(void)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (const struct sockaddr *)&address, length), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	close(fd);
	return ntohs(address.sin_port);
}

static pid_t serve_port(unsigned port, const char *path)
{
	return serve_words(NULL, words("-i 127.0.0.1 -p %u file %s", port, path));
}

static void a_server_is_reached_by_tcp(void **state)
{
	static uint8_t got[4096];
	char *path = make_file("served", SIZE, model);
	unsigned port = free_port();
	struct started on;
	double start;
	pid_t pid;

	if (missing()) {
		unlink(path);
		skip();
	}
	pid = serve_port(port, path);
	on = start_config(words("nbd://localhost:%u,reconnect=3600", port));
	check_random(&on, model, SIZE, 20, 512);
	end_server(pid);
	pid = serve_port(port, path);
	assert_int_equal(transfer(&on, DISK_READ, 4096, got, 4096, false), 0);
	assert_memory_equal(got, model + 4096, 4096);

	/* The end is not kept waiting by a name that is being resolved. */
	names_hang = true;
	names_asked = 0;
	end_server(pid);
	while (!names_asked)
		usleep(1000);
	start = now();
	stop(&on);
	assert_true(now() - start < 5);
	names_hang = false;
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
		cmocka_unit_test(patience_runs_out),
		cmocka_unit_test(servers_that_can_less_are_used),
		cmocka_unit_test(writes_are_remembered_till_a_flush),
		cmocka_unit_test(a_server_may_be_read_only),
		cmocka_unit_test(a_server_s_errors_are_told),
		cmocka_unit_test(a_server_is_reached_by_tcp),
	};

	return cmocka_run_group_tests(tests, setup, free_model);
}
