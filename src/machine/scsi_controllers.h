/* The SCSI controllers of a machine, with the disks and CD-ROM drives that are there. */
#ifndef VENEER_MACHINE_SCSI_CONTROLLERS_H
#define VENEER_MACHINE_SCSI_CONTROLLERS_H

struct machine;

/* Make the controllers that the configuration and its disks ask for. 0, or -errno with a
 * message. */
int machine_create_scsi(struct machine *machine);

#endif
