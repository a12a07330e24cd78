/* A seed for cloud-init's NoCloud data source: a read-only disk, labelled "cidata", with the files
 * that configure a guest when it boots. It is an ISO 9660 file system (ECMA-119), which is small to
 * write and known to every guest. */
#ifndef VENEER_HOST_CLOUD_INIT_H
#define VENEER_HOST_CLOUD_INIT_H

/* Make it of a directory's user-data, meta-data, network-config and vendor-data, as far as they are
 * there; user-data and meta-data are made up where they are missing, since without them the seed
 * would not be taken. A memfd, or -errno with a message that names the option. */
int cloud_init_seed(const char *option, const char *directory);

#endif
