// The three sizes are chosen when the library is built (environment variables of cargo, or CMake), and must be the same
// here: define them before this file, or with -D. `moteseal_boot` compares them.

// The longest datagram in bytes that a device makes, 38 to 65,535: a payload and 37. Buffers for output have this size.
#ifndef MOTESEAL_DATAGRAM_MAX
#define MOTESEAL_DATAGRAM_MAX 256
#endif
// The erase size of your flash in bytes: a multiple of 64. Where pages are smaller than you like, say a multiple.
#ifndef MOTESEAL_FLASH_PAGE
#define MOTESEAL_FLASH_PAGE 4096
#endif
// The write size of your flash in bytes: 8 for all flash that writes 1, 2, 4 or 8 bytes, or 16, or 32.
#ifndef MOTESEAL_FLASH_WORD
#define MOTESEAL_FLASH_WORD 8
#endif

// The longest payload in bytes.
#define MOTESEAL_PAYLOAD_MAX (MOTESEAL_DATAGRAM_MAX - 37)
// The shortest buffer for input in bytes, whatever the other sizes are: with a shorter one no key is ever rotated.
// For commands it is the longest one that your server sends and 26: what is cut off to fit does not verify.
#define MOTESEAL_INPUT_MIN 60
// The length of the partition in bytes.
#define MOTESEAL_FLASH_LEN (5 * MOTESEAL_FLASH_PAGE)
// The length of a device id in bytes.
#define MOTESEAL_DEVICE_ID_LEN 8
// A deadline: there is nothing to wait for.
#define MOTESEAL_NEVER UINT64_MAX
// An age: not known, or older than the bound.
#define MOTESEAL_AGE_UNKNOWN UINT64_MAX

// Memory for one device. What is in it is no business of yours.
typedef struct moteseal_device {
    uint64_t opaque[(MOTESEAL_DATAGRAM_MAX + 320 + 8 * sizeof(void *) + 7) / 8];
} moteseal_device;

// A device that was never booted; static memory is so by itself.
#define MOTESEAL_DEVICE_INIT {{0}}

// The sizes that this file was compiled with, no callbacks, the times that SPEC recommends, ages are reported.
#define MOTESEAL_CONFIG_INIT                                                                              \
    {                                                                                                     \
        MOTESEAL_DATAGRAM_MAX, MOTESEAL_FLASH_PAGE, MOTESEAL_FLASH_WORD, NULL, NULL, NULL, NULL, NULL,    \
            2000, 600000, 600000, 600000, 64, 4, 0                                                        \
    }

// What the sizes must be. (Before C11 and C++11 there is no other way to say so.)
#define MOTESEAL_CHECK_(name, condition) typedef char moteseal_check_##name##_[(condition) ? 1 : -1]
MOTESEAL_CHECK_(datagram_max, MOTESEAL_DATAGRAM_MAX >= 38 && MOTESEAL_DATAGRAM_MAX <= 65535);
MOTESEAL_CHECK_(flash_page, MOTESEAL_FLASH_PAGE >= 64 && MOTESEAL_FLASH_PAGE % 64 == 0);
MOTESEAL_CHECK_(flash_word, MOTESEAL_FLASH_WORD == 8 || MOTESEAL_FLASH_WORD == 16 || MOTESEAL_FLASH_WORD == 32);
MOTESEAL_CHECK_(pointers, sizeof(void *) == sizeof(size_t) && (sizeof(void *) == 4 || sizeof(void *) == 8));
typedef struct moteseal_alignment_ {
    char byte;
    moteseal_device device;
} moteseal_alignment_;
MOTESEAL_CHECK_(alignment, sizeof(moteseal_alignment_) == sizeof(moteseal_device) + 8);
#undef MOTESEAL_CHECK_
