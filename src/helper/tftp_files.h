/* The files that libslirp's TFTP server may read: those below one directory, symbolic links that
 * lead out of it excepted.
 *
 * libslirp opens what a guest names by open(2) on a prefix and the name, and would follow any link
 * there. So it is given a prefix that no file can have, and its calls of open() and stat() come
 * here: names with the prefix are looked up below the directory, by openat2(2). If a libslirp made
 * other calls, it would find nothing. */
#ifndef VENEER_HELPER_TFTP_FILES_H
#define VENEER_HELPER_TFTP_FILES_H

#define TFTP_PREFIX "/dev/null/tftp"

/* Serve what is below this directory. 0, or -errno: the host cannot confine it. */
int tftp_files_set(int directory);

#endif
