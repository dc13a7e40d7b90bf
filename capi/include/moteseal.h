// moteseal.h: the device half of Moteseal for C. Authenticated, replay-protected datagrams for a small device with one
// symmetric key. The device half and nothing else: servers and provisioning are the business of the program
// `moteseal`. The protocol is SPEC.md beside this directory.
//
// This file is made from the comments in capi/src: change them there, and run the test that compares.
//
// THE MEMORY IS YOURS. No heap, no globals: a device lives in a `moteseal_device` that you provide, as many as you like.
// It must be zero before its first boot, and must stay where it is from `moteseal_boot` to `moteseal_wipe`: it holds
// the counters of nonces, and two copies would send different payloads under the same nonce, which gives both away.
// A copy at another address is refused (`MOTESEAL_COPIED`). What no library can see: memory that is put back to an earlier
// state, or exists twice, at the same address (a restored snapshot, hibernation to disk, the child of a `fork`). Wipe
// and boot anew there, before anything is sent.
//
// THE FLASH is a partition of five erase pages, yours to read and write through three callbacks:
//     page 0, 1, 2   the factory image as `moteseal provision` makes it: identity, key slot A, key slot B
//     page 3, 4      the boot counter
// Devices write it once a boot, and when a key is rotated. Each device has its own.
//
// TIME is a number of milliseconds that never runs backwards and goes on while the device sleeps, from any start. If
// your clock can fail, do not hand its error on as a time; hand on the time before.
//
// ONE AT A TIME. Calls with the same device must come one after the other, and none from an interrupt that may strike
// within another; different devices are independent. A callback that calls back with its own device is refused.
// A call that never returned (a `longjmp` out of a callback, a reset that keeps memory) leaves a device that is in use
// for good: zero the whole `moteseal_device`, and boot.
//
// WHAT IS CHECKED, at every call: NULL, alignment, lengths, overlaps, a device that was not booted, was wiped, copied
// or is in use. The answer is an error, and nothing happened. Results then say that there is nothing, unless it is the
// pointer to the result that is wrong. WHAT C CANNOT CHECK: a pointer to memory that is not yours or shorter than you
// say, a device on a stack that has returned, a function pointer that is none, two threads at the same instant,
// callbacks that lie.
//
// A whole device:
//
//     #include "moteseal.h"
//
//     // Yours. The first four return 0 for success; offsets count from the start of the partition.
//     int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len);
//     int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len);
//     int flash_erase(void *context, uint32_t offset, size_t len);
//     int random_bytes(void *context, uint8_t *bytes, size_t len);
//     uint64_t clock_ms(void);
//     void radio_send(const uint8_t *datagram, size_t len);
//     // The length of the next datagram, or 0 once the deadline has passed.
//     size_t radio_wait(uint8_t *datagram, size_t size, uint64_t deadline_ms);
//     void obey(const uint8_t *command, size_t len);
//     void settle(uint16_t ticket, moteseal_outcome outcome);
//     void stop(const char *why);
//
//     static moteseal_device device; // static memory is zero
//
//     void run(void) {
//         static uint8_t out[MOTESEAL_DATAGRAM_MAX];
//         static uint8_t in[MOTESEAL_INPUT_MIN + 100]; // commands of up to 134 bytes
//         moteseal_config config = MOTESEAL_CONFIG_INIT;
//         config.flash_read = flash_read;
//         config.flash_write = flash_write;
//         config.flash_erase = flash_erase;
//         config.random = random_bytes;
//         moteseal_error error = moteseal_boot(&device, &config);
//         if (error != MOTESEAL_OK) {
//             stop(moteseal_error_text(error)); // and send nothing
//             return;
//         }
//         moteseal_sent sent;
//         const uint8_t payload[] = {'2', '1', '.', '5', ' ', 'C'};
//         error = moteseal_send(&device, clock_ms(), payload, sizeof payload, 1, out, sizeof out, &sent);
//         if (error == MOTESEAL_OK && sent.datagram_len != 0) {
//             radio_send(out, sent.datagram_len);
//         }
//         for (;;) {
//             // Whatever is due: acknowledgements, repeats, a new Hello. An error is a fault of flash or generator:
//             // log it; the device tries again by itself.
//             size_t len;
//             while (moteseal_poll(&device, clock_ms(), out, sizeof out, &len) == MOTESEAL_OK && len != 0) {
//                 radio_send(out, len);
//             }
//             uint64_t deadline;
//             if (moteseal_deadline(&device, &deadline) != MOTESEAL_OK) {
//                 return;
//             }
//             len = radio_wait(in, sizeof in, deadline);
//             if (len == 0) {
//                 continue;
//             }
//             // What is not authentic is an error: drop it in silence. The time is that after the wait.
//             moteseal_received received;
//             (void)moteseal_receive(&device, clock_ms(), in, len, &received);
//             for (uint8_t i = 0; i < received.settled_count; i++) {
//                 settle(received.settled[i].ticket, received.settled[i].outcome);
//             }
//             if (received.payload != NULL) {
//                 obey(received.payload, received.payload_len);
//             }
//         }
//     }

#ifndef MOTESEAL_H
#define MOTESEAL_H

#include <stddef.h>
#include <stdint.h>

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

// What a function returns: 0 if it worked. `moteseal_error_text` says what to do about the others.
// 1 to 31: your program's fault; nothing happened. 32 to 63: your hardware's. 64 and more, from `moteseal_receive`
// only: the network's or the server's; drop the datagram in silence.
typedef uint8_t moteseal_error;
enum {
    // It worked.
    MOTESEAL_OK = 0,
    // A pointer that must not be NULL is NULL.
    MOTESEAL_NULL_POINTER = 1,
    // A pointer is not aligned for its type.
    MOTESEAL_MISALIGNED = 2,
    // Two buffers overlap, or one overlaps the device, or a length reaches past the end of memory.
    MOTESEAL_OVERLAP = 3,
    // The output buffer is shorter than `MOTESEAL_DATAGRAM_MAX`.
    MOTESEAL_BUFFER_TOO_SHORT = 4,
    // The device was never booted, or was wiped, or something has overwritten it.
    MOTESEAL_NOT_BOOTED = 5,
    // The device is booted already, or its memory was not zero.
    MOTESEAL_IN_USE = 6,
    // This is a copy of a device.
    MOTESEAL_COPIED = 7,
    // The device is in a call: a callback calls back, or two threads or interrupts use it.
    MOTESEAL_REENTERED = 8,
    // The library was built for other sizes than your program was compiled with.
    MOTESEAL_WRONG_BUILD = 9,
    // The payload is empty.
    MOTESEAL_EMPTY = 10,
    // The payload is longer than `MOTESEAL_PAYLOAD_MAX`.
    MOTESEAL_TOO_LONG = 11,
    // One payload is outstanding or waits.
    MOTESEAL_BUSY = 12,
    // An error that has no number of its own.
    MOTESEAL_OTHER = 31,
    // The flash could not be read.
    MOTESEAL_FLASH_READ = 32,
    // The flash could not be written or erased.
    MOTESEAL_FLASH_WRITE = 33,
    // The flash read back other than written.
    MOTESEAL_FLASH_VERIFY = 34,
    // The first page of the partition is erased.
    MOTESEAL_IMAGE_BLANK = 35,
    // The first page of the partition holds something else than a factory image.
    MOTESEAL_IMAGE_MAGIC = 36,
    // The factory image, or a key slot, is of a format or suite that this library does not know.
    MOTESEAL_IMAGE_VERSION = 37,
    // The factory image is damaged.
    MOTESEAL_IMAGE_DAMAGED = 38,
    // Neither key slot holds an intact key, or the one that is wanted does not.
    MOTESEAL_IMAGE_NO_KEY = 39,
    // The keys in the two slots do not belong together.
    MOTESEAL_IMAGE_KEYS = 40,
    // The boot counter is at its end.
    MOTESEAL_COUNTER_USED_UP = 41,
    // The boot counter is blank or broken, and there is no generator.
    MOTESEAL_COUNTER_LOST = 42,
    // The generator failed.
    MOTESEAL_RANDOM_FAILED = 43,
    // The generator gave all zeros or all ones.
    MOTESEAL_RANDOM_STUCK = 44,
    // Not a datagram of this protocol and version.
    MOTESEAL_NOT_MOTESEAL = 64,
    // A datagram for servers, or one that nothing here waits for.
    MOTESEAL_UNEXPECTED = 65,
    // The tag does not verify: forged, damaged, or for somebody else.
    MOTESEAL_INAUTHENTIC = 66,
    // It came before, or is too old to tell.
    MOTESEAL_REPLAYED = 67,
    // It is authentic, and makes no sense: a fault in the server.
    MOTESEAL_MALFORMED = 68,
};

// What became of one of your payloads.
typedef uint8_t moteseal_outcome;
enum {
    // There is nothing to tell.
    MOTESEAL_OUTCOME_NONE = 0,
    // The server has recorded it.
    MOTESEAL_OUTCOME_ACKNOWLEDGED = 1,
    // It was sent, and what came of it will never be known. Send it again, as a new payload, if that does no harm.
    MOTESEAL_OUTCOME_UNKNOWN = 2,
    // It was never sealed: nobody has it. It may be sent again without a second thought.
    MOTESEAL_OUTCOME_UNSENT = 3,
};

// Something that you may want to log.
typedef uint8_t moteseal_event;
enum {
    // Nothing else happened.
    MOTESEAL_EVENT_NONE = 0,
    // A session is open: `epoch`, `old_key`.
    MOTESEAL_EVENT_SESSION_OPENED = 1,
    // The server has seen later epochs, up to `epoch`; a new Hello follows. `moved` says whether the boot counter was
    // moved for it: it had been lost or rolled back, or the server was restored.
    MOTESEAL_EVENT_STALE = 2,
    // The server has lost the session; a new one is being opened.
    MOTESEAL_EVENT_SESSION_LOST = 3,
    // A new device key is in flash, and a Hello under it follows: `generation`.
    MOTESEAL_EVENT_KEY_TAKEN = 4,
    // A command was older than `command_age_ms`, or of unknown age, and is not handed up: `seq`, `age_ms`.
    MOTESEAL_EVENT_COMMAND_REFUSED = 5,
    // A control message that this version does not act upon.
    MOTESEAL_EVENT_CONTROL_IGNORED = 6,
    // An event that this library does not know.
    MOTESEAL_EVENT_OTHER = 7,
};

// What became of the key before the one under which a session was opened.
typedef uint8_t moteseal_old_key;
enum {
    // There is none, or the session is still under it.
    MOTESEAL_OLD_KEY_UNTOUCHED = 0,
    // It is erased: the rotation is finished.
    MOTESEAL_OLD_KEY_ERASED = 1,
    // Erasing it failed: check the flash. It is tried again in the next session.
    MOTESEAL_OLD_KEY_KEPT = 2,
};

// Your hardware and how the device behaves. Start from `MOTESEAL_CONFIG_INIT` and set the callbacks. The library
// keeps a copy.
//
// Callbacks return 0 for success and anything else for failure. `offset` counts from the start of the
// partition of `MOTESEAL_FLASH_LEN` bytes; all offsets and lengths are within it. A callback must not call the
// library with the same device (`MOTESEAL_REENTERED`), must not jump out by `longjmp` or an exception, and must
// not keep the pointer to the bytes, which are keys.
typedef struct moteseal_config {
    // `MOTESEAL_DATAGRAM_MAX` as your compiler sees it; `moteseal_boot` compares it to the library's.
    uint32_t datagram_max;
    // `MOTESEAL_FLASH_PAGE`, likewise.
    uint32_t flash_page;
    // `MOTESEAL_FLASH_WORD`, likewise.
    uint32_t flash_word;
    // Handed to each callback, for instance to tell two devices apart. May be NULL.
    void *context;
    // Reads `len` bytes. `offset` and `len` are multiples of `MOTESEAL_FLASH_WORD`.
    int (*flash_read)(void *context, uint32_t offset, uint8_t *bytes, size_t len);
    // Writes `len` bytes to erased flash, durably before it returns. `offset` and `len` are multiples of
    // `MOTESEAL_FLASH_WORD`; `bytes` has no alignment. No word is written twice between erases.
    int (*flash_write)(void *context, uint32_t offset, const uint8_t *bytes, size_t len);
    // Erases one page: `offset` is a multiple of `MOTESEAL_FLASH_PAGE`, `len` is `MOTESEAL_FLASH_PAGE`. Erased flash
    // reads as FF. On FRAM or EEPROM write FF.
    int (*flash_erase)(void *context, uint32_t offset, size_t len);
    // Fills `len` bytes from a cryptographic generator. NULL if there is none: the device then refuses to boot once
    // its boot counter is lost. A device has one or has none, for good.
    int (*random)(void *context, uint8_t *bytes, size_t len);
    // The shortest first wait for an answer, in ms: 2,000.
    uint32_t answer_timeout_ms;
    // The longest wait between two Hellos, in ms: 600,000.
    uint32_t hello_cap_ms;
    // After so long without an acknowledgement, in ms, a payload asks for one by itself: 600,000.
    uint32_t confirm_after_ms;
    // How old a command may be, in ms: 600,000.
    uint32_t command_age_ms;
    // After so many payloads without a request for an acknowledgement, one asks by itself: 64.
    uint16_t confirm_every;
    // How often a payload in a session is repeated: 4; 255 counts as 254.
    uint8_t repeats;
    // What happens to a command that is older than `command_age_ms`, or whose age is not known. 0: it is handed up,
    // and its age is told. Anything else: it is refused, which is an event.
    uint8_t refuse_old;
} moteseal_config;

// A payload that was taken.
typedef struct moteseal_sent {
    // Length in bytes of the datagram at the front of `out`: send it now. 0: the payload waits for a session, and
    // comes out of `moteseal_poll`.
    size_t datagram_len;
    // Names the payload when its outcome is told. 0: no outcome will be told.
    uint16_t ticket;
} moteseal_sent;

// When a Hello was made: which boot of the device, and which Hello in that boot. Names a session; only grows.
typedef struct moteseal_epoch {
    // The boot counter.
    uint32_t boot;
    // The count of Hellos in that boot, from 0.
    uint16_t count;
} moteseal_epoch;

// The outcome of the payload that `ticket` names.
typedef struct moteseal_settled {
    // As `moteseal_send` gave it.
    uint16_t ticket;
    // What became of the payload.
    moteseal_outcome outcome;
} moteseal_settled;

// What a datagram brought.
typedef struct moteseal_received {
    // The server's payload, within the datagram that you handed over: it is there as long as you leave that memory
    // alone. NULL if there is none.
    const uint8_t *payload;
    // Length of the payload in bytes.
    size_t payload_len;
    // How old the payload, or the refused command, may be, in ms. `MOTESEAL_AGE_UNKNOWN`: not known, or older than
    // `command_age_ms`.
    uint64_t age_ms;
    // With a payload, the session's; with an event, see there.
    moteseal_epoch epoch;
    // The number of the payload, or of the refused command, within its session. Device id, epoch and number name a
    // payload for good.
    uint16_t seq;
    // How many of `settled` are filled in.
    uint8_t settled_count;
    // Own payloads whose outcome is known now.
    moteseal_settled settled[2];
    // What else happened.
    moteseal_event event;
    // With `MOTESEAL_EVENT_SESSION_OPENED`: what became of the key before.
    moteseal_old_key old_key;
    // With `MOTESEAL_EVENT_KEY_TAKEN`: the generation of the new key.
    uint8_t generation;
    // With `MOTESEAL_EVENT_STALE`: 1 if the boot counter was moved, else 0.
    uint8_t moved;
} moteseal_received;

// A session that was closed.
typedef struct moteseal_closed {
    // Length in bytes of the datagram at the front of `out`: send it now. 0: there was no session to close.
    size_t datagram_len;
    // How many of `settled` are filled in.
    uint8_t settled_count;
    // What became of your payloads.
    moteseal_settled settled[2];
} moteseal_closed;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Starts a device: reads its identity and advances its boot counter, the one flash write of a boot. Call it once
// after each reset, before anything else. `device` must be zero (static memory is, or `MOTESEAL_DEVICE_INIT`) or
// wiped. It stays where it is until `moteseal_wipe`; `config` may go. No session is opened before something is sent
// or `moteseal_connect` is called.
//
// Errors: your program's or your hardware's. The device is blank again, and you must not send anything for it.
moteseal_error moteseal_boot(moteseal_device *device,
                             const moteseal_config *config);

// Checks that the partition holds a whole factory image, without booting: nothing is written. For a production line,
// or to choose a partition. Writes the device id, `MOTESEAL_DEVICE_ID_LEN` bytes, to `device_id`.
//
// Errors: `MOTESEAL_NULL_POINTER`, `MOTESEAL_WRONG_BUILD`, `MOTESEAL_FLASH_READ`, `MOTESEAL_IMAGE_...`. `device_id` is
// then left alone.
moteseal_error moteseal_check(const moteseal_config *config,
                              uint8_t *device_id);

// Ends a device and wipes its memory, keys included, and the stack below the call, where ciphers leave copies: call it where
// you call the others. It takes 1.5 KiB of stack for that, or 16 KiB where pointers have 64 bits. Nothing is sent (see
// `moteseal_close`); what is outstanding is forgotten, as by a power cut. The memory is blank then, and may be booted
// again. Wipes copies, too. Memory that is blank stays so.
//
// Errors: `MOTESEAL_NULL_POINTER`, `MOTESEAL_MISALIGNED`, `MOTESEAL_REENTERED`, `MOTESEAL_NOT_BOOTED` if this is neither
// a device nor blank. Nothing is wiped then.
moteseal_error moteseal_wipe(moteseal_device *device);

// Takes a payload of 1 to `MOTESEAL_PAYLOAD_MAX` bytes. In a session it goes out as Data. Without one it goes out in a
// Hello, or waits until a session is open. `out` takes the datagram; `out_size` is at least `MOTESEAL_DATAGRAM_MAX`.
//
// `confirm` other than 0: the payload is repeated until the server acknowledges it, and its outcome is told by
// `moteseal_receive`. 0: it is sent once, unless the protocol wants an acknowledgement at this point anyway. One
// payload is outstanding or waits at a time; payloads without `confirm` go out beside it.
//
// Errors: your program's or your hardware's; nothing of the payload was kept or sent.
moteseal_error moteseal_send(moteseal_device *device,
                             uint64_t now_ms,
                             const uint8_t *payload,
                             size_t payload_len,
                             uint8_t confirm,
                             uint8_t *out,
                             size_t out_size,
                             moteseal_sent *sent);

// Takes a datagram of `len` bytes that came from the network, at the time of its arrival. It is decrypted in place.
// One that was cut off does not verify: for the length of your buffer see `MOTESEAL_INPUT_MIN`.
// Call `moteseal_poll` afterwards until it has nothing: an answer may be due.
//
// Errors: any. Look at `received` all the same: an outcome may be told along with an error. What your hardware failed
// at was not acknowledged, and the server tries again.
moteseal_error moteseal_receive(moteseal_device *device,
                                uint64_t now_ms,
                                uint8_t *datagram,
                                size_t len,
                                moteseal_received *received);

// The next datagram that is due: an acknowledgement, a repeat, a Hello. Call it until `*len` is 0, after each
// `moteseal_receive` and at each deadline. `out_size` is at least `MOTESEAL_DATAGRAM_MAX`; `*len` is the length in bytes
// of the datagram at the front of `out`.
//
// Errors: your program's; your hardware's, and then what was due stays due, later and later.
moteseal_error moteseal_poll(moteseal_device *device,
                             uint64_t now_ms,
                             uint8_t *out,
                             size_t out_size,
                             size_t *len);

// When to call `moteseal_poll` next, if no datagram comes before. A time in the past means at once, `MOTESEAL_NEVER`
// that there is nothing to wait for.
//
// Errors: your program's; `*deadline_ms` is then `MOTESEAL_NEVER`.
moteseal_error moteseal_deadline(const moteseal_device *device,
                                 uint64_t *deadline_ms);

// Opens a session if there is none. In a session, asks the server for a sign of life. Either comes from the next
// `moteseal_poll`.
//
// Errors: your program's.
moteseal_error moteseal_connect(moteseal_device *device,
                                uint64_t now_ms);

// Takes back the payload that `ticket` names, if it waits or stands in a Hello without an answer. `*outcome` says
// whether it was sent. For any other ticket it is `MOTESEAL_OUTCOME_NONE`: that outcome was told or will be.
//
// Errors: your program's.
moteseal_error moteseal_withdraw(moteseal_device *device,
                                 uint64_t now_ms,
                                 uint16_t ticket,
                                 moteseal_outcome *outcome);

// Ends the session and whatever is outstanding; the device is as after boot. The datagram tells the server, so that
// it sends nothing more in vain: before a long sleep or a reset. `out_size` is at least `MOTESEAL_DATAGRAM_MAX`.
//
// Errors: your program's, and nothing has changed.
moteseal_error moteseal_close(moteseal_device *device,
                              uint64_t now_ms,
                              uint8_t *out,
                              size_t out_size,
                              moteseal_closed *closed);

// Writes the public name of the device, `MOTESEAL_DEVICE_ID_LEN` bytes, to `device_id`.
//
// Errors: your program's; `device_id` is then left alone.
moteseal_error moteseal_device_id(const moteseal_device *device, uint8_t *device_id);

// Reads the boot counter from the flash: 1 after the first boot, more after each.
//
// Errors: your program's; `MOTESEAL_FLASH_READ`, `MOTESEAL_FLASH_VERIFY` if there is none any more. `*boot` is then 0.
moteseal_error moteseal_boot_count(moteseal_device *device,
                                   uint32_t *boot);

// Whether there is a session: `*open` is 1 or 0, and `*epoch` its epoch or zero. It may be one that only receives,
// while a new one is opened.
//
// Errors: your program's; `*open` is then 0.
moteseal_error moteseal_session(const moteseal_device *device,
                                uint8_t *open,
                                moteseal_epoch *epoch);

// What the error means and what to do about it: a static string in English. Never NULL, whatever the number.
const char *moteseal_error_text(moteseal_error error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* MOTESEAL_H */
