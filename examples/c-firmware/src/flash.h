/* NOR flash with the rules that real parts have, on memory that a board provides: programming clears bits, in words
 * that are erased; erasing sets a page to FF; both are durable when they return, and are read back. */

#ifndef FLASH_H
#define FLASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FLASH_LEN 65536u
#define FLASH_PAGE_LEN 4096u
#define FLASH_WORD_LEN 4u

typedef enum {
    FLASH_OK,
    FLASH_OUTSIDE,    /* the range is not within the flash */
    FLASH_UNALIGNED,  /* not whole words, or not whole pages */
    FLASH_NOT_ERASED, /* a word that was programmed before */
    FLASH_NOT_KEPT,   /* the medium behind it did not take the change */
    FLASH_NOT_READ,   /* it reads back as something else */
} flash_error;

/* The board's memory, and what makes a change of it outlast the power: true once it is durable. Asked before the memory
 * changes. */
typedef struct {
    uint8_t *memory;
    bool (*keep)(uint32_t offset, const uint8_t *bytes, size_t len);
} nor_flash;

flash_error flash_read(const nor_flash *flash, uint32_t offset, uint8_t *bytes, size_t len);
flash_error flash_program(const nor_flash *flash, uint32_t offset, const uint8_t *bytes, size_t len);
flash_error flash_erase(const nor_flash *flash, uint32_t offset, size_t len);

#endif
