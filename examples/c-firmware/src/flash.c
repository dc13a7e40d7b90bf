/* The rules of NOR flash. What breaks them is an error, as it is on parts with ECC, and changes nothing. */

#include "flash.h"

#include <string.h>

#define BLANK 0xFFu

static bool is_inside(uint32_t offset, size_t len)
{
    return offset <= FLASH_LEN && len <= FLASH_LEN - offset;
}

static bool is_blank(const volatile uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != BLANK) {
            return false;
        }
    }
    return true;
}

/* Reads back from the memory itself; the compiler knows what was written, and would not look. */
static bool reads_as(const volatile uint8_t *memory, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (memory[i] != bytes[i]) {
            return false;
        }
    }
    return true;
}

flash_error flash_read(const nor_flash *flash, uint32_t offset, uint8_t *bytes, size_t len)
{
    if (!is_inside(offset, len)) {
        return FLASH_OUTSIDE;
    }
    memcpy(bytes, flash->memory + offset, len);
    return FLASH_OK;
}

flash_error flash_program(const nor_flash *flash, uint32_t offset, const uint8_t *bytes, size_t len)
{
    if (!is_inside(offset, len)) {
        return FLASH_OUTSIDE;
    }
    if (offset % FLASH_WORD_LEN != 0 || len % FLASH_WORD_LEN != 0) {
        return FLASH_UNALIGNED;
    }
    uint8_t *memory = flash->memory + offset;
    if (!is_blank(memory, len)) {
        return FLASH_NOT_ERASED;
    }
    if (!flash->keep(offset, bytes, len)) {
        return FLASH_NOT_KEPT;
    }
    memcpy(memory, bytes, len);
    return reads_as(memory, bytes, len) ? FLASH_OK : FLASH_NOT_READ;
}

static flash_error erase_page(const nor_flash *flash, uint32_t offset)
{
    uint8_t *page = flash->memory + offset;
    uint8_t blank[64];
    memset(blank, BLANK, sizeof blank);
    for (uint32_t at = 0; at < FLASH_PAGE_LEN; at += sizeof blank) {
        if (!flash->keep(offset + at, blank, sizeof blank)) {
            return FLASH_NOT_KEPT;
        }
        memcpy(page + at, blank, sizeof blank);
    }
    return is_blank(page, FLASH_PAGE_LEN) ? FLASH_OK : FLASH_NOT_READ;
}

flash_error flash_erase(const nor_flash *flash, uint32_t offset, size_t len)
{
    if (!is_inside(offset, len)) {
        return FLASH_OUTSIDE;
    }
    if (offset % FLASH_PAGE_LEN != 0 || len % FLASH_PAGE_LEN != 0) {
        return FLASH_UNALIGNED;
    }
    flash_error error = FLASH_OK;
    for (uint32_t at = 0; at < len && error == FLASH_OK; at += FLASH_PAGE_LEN) {
        error = erase_page(flash, offset + at);
    }
    return error;
}
