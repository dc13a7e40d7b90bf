/* A device that sends a reading now and then, and takes commands. The same on every board. */

#ifndef DEVICE_H
#define DEVICE_H

#include <stdint.h>

#include "flash.h"

/* Runs the device, with a reading every so often, until a command closes it or it cannot start. Returns the status to
 * exit with. */
int device_run(nor_flash *flash, uint32_t every_ms);

/* Says why nothing is run; returns the status to exit with. */
int device_stop(const char *why);

#endif
