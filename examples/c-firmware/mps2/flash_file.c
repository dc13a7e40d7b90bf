/* Each change goes to the host's file first and is there when the driver returns, so it outlasts a QEMU that is killed.
 * On a chip the flash controller stands here: unlock, write a word or erase a page, wait, look at its error flags. */

#include "flash_file.h"

#include <string.h>

#include "semihosting.h"

/* link.ld: where QEMU's loader puts the file. */
extern uint8_t DEVICE_FLASH[];

static semihosting_file file;

static bool keep(uint32_t offset, const uint8_t *bytes, size_t len)
{
    return semihosting_write_at(file, offset, bytes, len);
}

/* Written through to a file that is not what lies in the memory, a boot counter would be lost. */
static const char *compare(void)
{
    uint8_t chunk[256];
    for (uint32_t at = 0; at < FLASH_LEN; at += sizeof chunk) {
        if (!semihosting_read(file, chunk, sizeof chunk)) {
            return "the flash file cannot be read";
        }
        if (memcmp(chunk, DEVICE_FLASH + at, sizeof chunk) != 0) {
            return "the flash file is not what lies in the memory of the flash";
        }
    }
    return NULL;
}

const char *flash_file_open(nor_flash *flash, const char *path)
{
    flash->memory = DEVICE_FLASH;
    flash->keep = keep;
    if (!semihosting_open(&file, path, SEMIHOSTING_UPDATE)) {
        return "the flash file cannot be opened";
    }
    if (semihosting_len(file) != (int32_t)FLASH_LEN) {
        return "the flash file has another length than the flash";
    }
    return compare();
}
