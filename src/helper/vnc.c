/* veneer-vnc: shows the machine's screen to VNC clients. libvncserver parses what they send here,
 * in a process of its own; the monitor gets keys and movements, in messages of fixed size.
 *
 * usage: veneer-vnc ADDRESS PORT [PASSWORD-FILE]	ADDRESS: a path where it has a slash
 *
 * One thread serves all clients. A client that does not read, or stops within a message, is dropped
 * after CLIENT_PATIENCE, one that has not said who it is after GREETING_PATIENCE; there are
 * MOST_CLIENTS at a time. */
#include "base/bits.h"
#include "base/sanitizer.h"
#include "host/display/keysym.h"
#include "host/display/vnc_link.h"
#include "host/input.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <rfb/rfb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_CLIENTS      8
#define CLIENT_PATIENCE   2000       /* ms */
#define GREETING_PATIENCE 5000       /* ms */
#define FRAME_MS          33         /* from one frame to the next */
#define MOST_BYTES        (1u << 30) /* of memory: past that this process ends */
#define PASSWORD_SIZE     9          /* VNC looks at 8 characters */

/* The screen is compared with what clients have in pieces of this size. */
#define TILE_WIDTH  64
#define TILE_HEIGHT 16

static const uint32_t *shared;
static rfbScreenInfoPtr screen;
static uint32_t *picture; /* what clients have, or will get */
static unsigned clients;
static uintptr_t resizes;
static bool asked; /* a frame is on its way */
static uint64_t asked_ms;
static char password[PASSWORD_SIZE];
static char *passwords[] = {password, NULL};

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* --- to the monitor --- */

/* False: it has no room now. */
static bool tell(uint32_t kind, int a, int b, int c, int d)
{
	struct vnc_request request = {kind, {a, b, c, d}};

	if (send(VNC_LINK_SOCKET, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
		return true;
	if (errno != EAGAIN)
		exit(0); /* it has gone */
	return false;
}

static void on_key(rfbBool down, rfbKeySym keysym, rfbClientPtr client)
{
	unsigned code = keysym_code(keysym);

	if (code)
		tell(VNC_KEY, (int)code, down, 0, 0);
}

/* Where the pointer is becomes how it has moved: the guest's mouse knows no places. What the
 * monitor had no room for is part of the next movement. */
static void on_pointer(int buttons, int x, int y, rfbClientPtr client)
{
	static int last_x, last_y, last_buttons;
	static bool known;
	int pressed = (buttons & 1 ? INPUT_LEFT : 0) | (buttons & 2 ? INPUT_MIDDLE : 0) |
		      (buttons & 4 ? INPUT_RIGHT : 0);
	int begun = buttons & ~last_buttons;
	int wheel = begun & 8 ? -1 : begun & 16 ? 1 : 0;

	if (!tell(VNC_POINTER, known ? x - last_x : 0, known ? y - last_y : 0, wheel, pressed))
		return;
	known = true;
	last_x = x;
	last_y = y;
	last_buttons = buttons;
}

/* --- the picture --- */

/* libvncserver's pixels have red in the lowest byte. */
static uint32_t swapped(uint32_t pixel)
{
	return (pixel >> 16 & 0xff) | (pixel & 0xff00) | (pixel & 0xff) << 16;
}

static void resize(unsigned width, unsigned height)
{
	uint32_t *old = picture;

	picture = calloc((size_t)width * height, sizeof(*picture));
	if (!picture)
		fail("a picture");
	resizes++;
	rfbNewFramebuffer(screen, (char *)picture, (int)width, (int)height, 8, 3, 4);
	free(old);
}

/* Copy what has changed. True: something has. */
static bool copy_tile(unsigned x, unsigned y, unsigned width, unsigned height)
{
	bool changed = false;

	for (unsigned row = y; row < y + height; row++) {
		size_t at = (size_t)row * (unsigned)screen->width + x;

		for (unsigned i = 0; i < width; i++) {
			uint32_t pixel = swapped(shared[at + i]);

			changed |= picture[at + i] != pixel;
			picture[at + i] = pixel;
		}
	}
	return changed;
}

static void take_frame(void)
{
	struct vnc_answer answer;
	ssize_t size = recv(VNC_LINK_SOCKET, &answer, sizeof(answer), MSG_DONTWAIT);

	if (size < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (size != sizeof(answer))
		exit(0);
	asked = false;
	if (answer.first >= answer.end)
		return;
	if (answer.width != (unsigned)screen->width || answer.height != (unsigned)screen->height)
		resize(answer.width, answer.height);
	for (unsigned y = answer.first; y < answer.end; y += TILE_HEIGHT)
		for (unsigned x = 0; x < answer.width; x += TILE_WIDTH) {
			unsigned width = MIN(TILE_WIDTH, answer.width - x);
			unsigned height = MIN(TILE_HEIGHT, answer.end - y);

			if (copy_tile(x, y, width, height))
				rfbMarkRectAsModified(screen, (int)x, (int)y, (int)(x + width),
					(int)(y + height));
		}
}

static void ask_for_frame(void)
{
	uint64_t now = now_ms();

	if (asked || !clients || now - asked_ms < FRAME_MS)
		return;
	asked_ms = now;
	asked = tell(VNC_FRAME, 0, 0, 0, 0);
}

/* --- clients --- */

/* What this program keeps of a client. */
struct viewer {
	uintptr_t resizes; /* so many it has been told of */
	uint64_t since_ms;
};

static void on_gone(rfbClientPtr client)
{
	free(client->clientData);
	clients--;
}

static enum rfbNewClientAction on_client(rfbClientPtr client)
{
	struct viewer *viewer = malloc(sizeof(*viewer));

	client->clientGoneHook = on_gone;
	client->clientData = viewer;
	clients++;
	if (!viewer)
		return RFB_CLIENT_REFUSE;
	*viewer = (struct viewer){resizes, now_ms()};
	return clients > MOST_CLIENTS ? RFB_CLIENT_REFUSE : RFB_CLIENT_ACCEPT;
}

/* libvncserver forgets to tell those of a new size that have not said yet that they want to be
 * told. */
static void tell_size(rfbClientPtr client)
{
	struct viewer *viewer = client->clientData;

	if (viewer->resizes == resizes || !client->useNewFBSize)
		return;
	viewer->resizes = resizes;
	client->newFBSizePending = TRUE;
}

/* Those that say nothing would take the places of others. */
static void drop_silent(rfbClientPtr client)
{
	const struct viewer *viewer = client->clientData;

	if (client->state != RFB_NORMAL && now_ms() - viewer->since_ms > GREETING_PATIENCE)
		rfbCloseClient(client);
}

static void accept_client(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	if (clients >= MOST_CLIENTS)
		close(fd);
	else
		rfbNewClient(screen, fd);
}

static void log_nothing(const char *format, ...)
{
	/* Clients cause these, as many as they like. */
}

/* --- where it listens --- */

static int listen_at(const char *name, const void *address, socklen_t size)
{
	int family = ((const struct sockaddr *)address)->sa_family, one = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && family != AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, address, size) < 0 || listen(fd, MOST_CLIENTS) < 0)
		fail(name);
	return fd;
}

/* Only the user may connect. A socket that is there at which nobody listens is replaced; ours is
 * removed by the monitor. */
static int listen_at_path(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		fail(path);
	}
	strcpy(address.sun_path, path);
	if (connect(probe, (struct sockaddr *)&address, sizeof(address)) < 0 &&
		errno == ECONNREFUSED)
		unlink(path);
	close(probe);
	umask(0077);
	return listen_at(path, &address, sizeof(address));
}

static int listen_at_port(const char *host, const char *port)
{
	uint16_t number = htons((uint16_t)atoi(port));
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = number};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = number};

	if (inet_pton(AF_INET, host, &in.sin_addr) == 1)
		return listen_at(port, &in, sizeof(in));
	inet_pton(AF_INET6, host, &in6.sin6_addr);
	return listen_at(port, &in6, sizeof(in6));
}

static void read_password(const char *path)
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(password, sizeof(password), file))
		fail(path);
	fclose(file);
	password[strcspn(password, "\r\n")] = '\0';
	if (!password[0]) {
		fprintf(stderr, "%s: expected a password\n", path);
		exit(1);
	}
	screen->authPasswdData = passwords;
	screen->passwordCheck = rfbCheckPasswordByList;
}

/* --- the process --- */

static void make_screen(void)
{
	static char name[] = "veneer";

	rfbLog = rfbErr = log_nothing;
	screen = rfbGetScreen(NULL, NULL, 8, 8, 8, 3, 4);
	if (!screen)
		fail("libvncserver");
	screen->desktopName = name;
	screen->port = screen->ipv6port = screen->httpPort = screen->http6Port = 0;
	screen->autoPort = FALSE;
	screen->alwaysShared = TRUE;
	screen->deferUpdateTime = 0;
	screen->maxClientWait = CLIENT_PATIENCE;
	screen->cursor = NULL;
	screen->kbdAddEvent = on_key;
	screen->ptrAddEvent = on_pointer;
	screen->newClientHook = on_client;
	picture = calloc(8 * 8, sizeof(*picture));
	screen->frameBuffer = (char *)picture;
	rfbInitServer(screen);
}

/* Wait for a client, the monitor, or the time of the next frame. */
static void wait_for_events(int listener)
{
	struct pollfd fds[2 + MOST_CLIENTS] = {
		{.fd = VNC_LINK_SOCKET, .events = POLLIN}, {.fd = listener, .events = POLLIN}};
	rfbClientIteratorPtr iterator = rfbGetClientIterator(screen);
	rfbClientPtr client;
	nfds_t count = 2;

	while ((client = rfbClientIteratorNext(iterator)) && count < ARRAY_SIZE(fds)) {
		tell_size(client);
		drop_silent(client);
		fds[count++] = (struct pollfd){.fd = client->sock, .events = POLLIN};
	}
	rfbReleaseClientIterator(iterator);
	if (poll(fds, count, clients ? FRAME_MS : -1) < 0)
		return;
	if (fds[0].revents)
		take_frame();
	if (fds[1].revents)
		accept_client(listener);
}

static void limit_memory(void)
{
	const struct rlimit limit = {MOST_BYTES, MOST_BYTES};

	if (!ADDRESS_SANITIZED && !THREAD_SANITIZED)
		setrlimit(RLIMIT_DATA, &limit);
}

int main(int argc, char **argv)
{
	struct stat memory;
	int listener;

	shared = mmap(NULL, VNC_LINK_BYTES, PROT_READ, MAP_SHARED, VNC_LINK_MEMORY, 0);
	if (argc < 3 || shared == MAP_FAILED || fstat(VNC_LINK_MEMORY, &memory) < 0 ||
		memory.st_size < (off_t)VNC_LINK_BYTES) {
		fprintf(stderr, "veneer starts this itself, for --display vnc\n");
		return 1;
	}
	close(VNC_LINK_MEMORY);
	signal(SIGPIPE, SIG_IGN);
	limit_memory();
	make_screen();
	if (argc > 3)
		read_password(argv[3]);
	listener =
		strchr(argv[1], '/') ? listen_at_path(argv[1]) : listen_at_port(argv[1], argv[2]);
	tell(VNC_READY, 0, 0, 0, 0);
	for (;;) {
		ask_for_frame();
		wait_for_events(listener);
		rfbProcessEvents(screen, 0);
	}
}
