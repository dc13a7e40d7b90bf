/* The rules of the flash: what it takes, what it refuses, and that a refused or failed change leaves memory and medium
 * alike. */

#include <string.h>

#include "check.h"
#include "flash.h"

static uint8_t memory[FLASH_LEN];
static uint8_t medium[FLASH_LEN];
/* How many more changes the medium takes. */
static unsigned patience;

static bool keep(uint32_t offset, const uint8_t *bytes, size_t len)
{
    if (patience == 0) {
        return false;
    }
    patience--;
    memcpy(medium + offset, bytes, len);
    return true;
}

static const nor_flash part = { memory, keep };

static void start(unsigned changes)
{
    memset(memory, 0xFF, sizeof memory);
    memset(medium, 0xFF, sizeof medium);
    patience = changes;
}

static bool alike(void)
{
    return memcmp(memory, medium, sizeof memory) == 0;
}

static void words_are_programmed_once_between_erases(void)
{
    uint8_t back[8];
    start(1000);
    CHECK(flash_program(&part, FLASH_LEN - 8, (const uint8_t *)"eightlen", 8) == FLASH_OK);
    CHECK(flash_read(&part, FLASH_LEN - 8, back, 8) == FLASH_OK && memcmp(back, "eightlen", 8) == 0);
    /* Even if only bits would be cleared. */
    CHECK(flash_program(&part, FLASH_LEN - 8, (const uint8_t *)"\0\0\0\0", 4) == FLASH_NOT_ERASED);
    CHECK(memcmp(memory + FLASH_LEN - 8, "eightlen", 8) == 0 && alike());
    CHECK(flash_program(&part, 0, (const uint8_t *)"kept", 4) == FLASH_OK);
    CHECK(flash_erase(&part, FLASH_LEN - FLASH_PAGE_LEN, FLASH_PAGE_LEN) == FLASH_OK);
    CHECK(memory[FLASH_LEN - 1] == 0xFF && memcmp(memory, "kept", 4) == 0 && alike());
    CHECK(flash_program(&part, FLASH_LEN - 8, (const uint8_t *)"newwords", 8) == FLASH_OK && alike());
}

static void only_what_is_inside_and_aligned_is_taken(void)
{
    static uint8_t bytes[FLASH_LEN];
    start(1000);
    CHECK(flash_read(&part, FLASH_LEN, bytes, 1) == FLASH_OUTSIDE);
    CHECK(flash_read(&part, FLASH_LEN, bytes, 0) == FLASH_OK);
    CHECK(flash_read(&part, FLASH_LEN + 4, bytes, 4) == FLASH_OUTSIDE);
    CHECK(flash_read(&part, UINT32_MAX, bytes, SIZE_MAX) == FLASH_OUTSIDE);
    CHECK(flash_read(&part, 0, bytes, FLASH_LEN) == FLASH_OK);
    CHECK(flash_program(&part, FLASH_LEN - 4, bytes, 8) == FLASH_OUTSIDE);
    CHECK(flash_program(&part, 2, bytes, 4) == FLASH_UNALIGNED);
    CHECK(flash_program(&part, 0, bytes, 3) == FLASH_UNALIGNED);
    CHECK(flash_erase(&part, FLASH_LEN, FLASH_PAGE_LEN) == FLASH_OUTSIDE);
    CHECK(flash_erase(&part, 4, FLASH_PAGE_LEN) == FLASH_UNALIGNED);
    CHECK(flash_erase(&part, 0, 4) == FLASH_UNALIGNED);
    CHECK(patience == 1000 && alike());
}

static void a_medium_that_fails_leaves_both_alike(void)
{
    start(0);
    CHECK(flash_program(&part, 0, (const uint8_t *)"lost", 4) == FLASH_NOT_KEPT);
    CHECK(memory[0] == 0xFF && alike());
    memset(memory, 0, FLASH_PAGE_LEN);
    memset(medium, 0, FLASH_PAGE_LEN);
    patience = 3;
    CHECK(flash_erase(&part, 0, FLASH_PAGE_LEN) == FLASH_NOT_KEPT);
    /* Erased in part, as by a power cut. */
    CHECK(memory[0] == 0xFF && memory[FLASH_PAGE_LEN - 1] == 0 && alike());
}

int main(void)
{
    words_are_programmed_once_between_erases();
    only_what_is_inside_and_aligned_is_taken();
    a_medium_that_fails_leaves_both_alike();
    return 0;
}
