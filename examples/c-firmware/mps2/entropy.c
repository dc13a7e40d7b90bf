/* The host's /dev/urandom, by semihosting. It stands in for the random number generator that a chip of this kind has,
 * and QEMU's board has not: on a chip, read its TRNG here, and pass on what its health tests say. */

#include "entropy.h"

#include "semihosting.h"

bool entropy_fill(uint8_t *bytes, size_t len)
{
    static semihosting_file source;
    static bool is_open;
    is_open = is_open || semihosting_open(&source, "/dev/urandom", SEMIHOSTING_READ);
    return is_open && semihosting_read(source, bytes, len);
}
