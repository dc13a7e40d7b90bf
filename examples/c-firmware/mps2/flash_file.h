/* The device's flash on the emulated board: memory that QEMU has loaded from a file of the host. */

#ifndef FLASH_FILE_H
#define FLASH_FILE_H

#include "flash.h"

/* Opens the file that the memory was loaded from. Returns why it cannot be used, or NULL. */
const char *flash_file_open(nor_flash *flash, const char *path);

#endif
