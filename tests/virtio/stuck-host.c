/*
 * Runs a program on a host whose disk gets stuck: as long as a file of that name exists, calls of
 * the program that write to files or flush them do not return from the kernel.
 *
 *	stuck-host FLAG-FILE PROGRAM [ARGUMENT]...
 *
 * The kernel asks another process about these calls (seccomp_unotify(2)), which answers none while
 * the flag is there. A thread that waits for the answer can be killed, as one that waits for a
 * network file system can. Exit status 77: the host does not allow this.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CANNOT 77

/* The descriptor on which the kernel asks, or -1. */
static int filter_calls(void)
{
	struct sock_filter rows[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_pwritev2, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {sizeof(rows) / sizeof(rows[0]), rows};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	return (int)syscall(
		SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

struct message {
	struct msghdr header;
	struct iovec piece;
	char byte;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
};

static void prepare(struct message *message)
{
	memset(message, 0, sizeof(*message));
	message->piece = (struct iovec){&message->byte, 1};
	message->header = (struct msghdr){.msg_iov = &message->piece,
		.msg_iovlen = 1,
		.msg_control = message->control.bytes,
		.msg_controllen = sizeof(message->control.bytes)};
}

static int send_fd(int socket, int fd)
{
	struct message message;
	struct cmsghdr *control;

	prepare(&message);
	control = CMSG_FIRSTHDR(&message.header);
	control->cmsg_level = SOL_SOCKET;
	control->cmsg_type = SCM_RIGHTS;
	control->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(control), &fd, sizeof(fd));
	return sendmsg(socket, &message.header, 0) == 1 ? 0 : -1;
}

static int receive_fd(int socket)
{
	struct message message;
	struct cmsghdr *control;
	int fd;

	prepare(&message);
	if (recvmsg(socket, &message.header, 0) != 1)
		return -1;
	control = CMSG_FIRSTHDR(&message.header);
	if (!control)
		return -1;
	memcpy(&fd, CMSG_DATA(control), sizeof(fd));
	return fd;
}

/* Allow each call in its turn; those that come while the flag is there wait till the program ends,
 * and this with it. */
static _Noreturn void answer(int listener, const char *flag)
{
	struct seccomp_notif question;
	struct seccomp_notif_resp reply;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		memset(&question, 0, sizeof(question));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			_exit(0);
		}
		if (access(flag, F_OK) == 0)
			continue;
		reply = (struct seccomp_notif_resp){
			.id = question.id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply);
	}
}

int main(int argc, char **argv)
{
	int sockets[2], listener;

	if (argc < 3 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
		return 2;
	if (fork() == 0) {
		close(sockets[1]);
		listener = receive_fd(sockets[0]);
		close(sockets[0]);
		/* Pipes of the program end with the program. */
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		if (listener < 0)
			_exit(1);
		answer(listener, argv[1]);
	}
	listener = filter_calls();
	if (listener < 0 || send_fd(sockets[1], listener) < 0) {
		fprintf(stderr, "stuck-host: %s\n", strerror(errno));
		return CANNOT;
	}
	close(listener);
	execvp(argv[2], argv + 2);
	fprintf(stderr, "stuck-host: %s: %s\n", argv[2], strerror(errno));
	return 2;
}
