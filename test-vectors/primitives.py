"""The primitives under the protocol: HMAC, HKDF and the AEAD, each checked against its RFC.

Nothing here knows a datagram. HMAC and HKDF are written out over `hashlib`, so that the
intermediate values (the PRK) can be shown in the vectors; `cryptography` supplies the cipher.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TAG_LEN = 16


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf_extract(salt: bytes, ikm: bytes) -> bytes:
    return hmac_sha256(salt, ikm)


def hkdf_expand(prk: bytes, info: bytes, length: int) -> bytes:
    okm, block, counter = b"", b"", 1
    while len(okm) < length:
        block = hmac_sha256(prk, block + info + bytes([counter]))
        okm += block
        counter += 1
    return okm[:length]


def seal(key: bytes, nonce: bytes, aad: bytes, plaintext: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and tag, apart."""
    sealed = ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad)
    return sealed[:-TAG_LEN], sealed[-TAG_LEN:]


def open_sealed(key: bytes, nonce: bytes, aad: bytes, sealed: bytes) -> bytes | None:
    """The plaintext, or None if the tag does not verify."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except InvalidTag:
        return None


def fixed_bytes(label: str, length: int) -> bytes:
    """Bytes that look random and are the same in every run."""
    return hkdf_expand(hashlib.sha256(b"moteseal test vectors").digest(), label.encode(), length)


def check_known_answers() -> None:
    """Stops the generator if a primitive disagrees with its RFC."""
    _check_hkdf()
    _check_aead()


def _check_hkdf() -> None:
    # RFC 5869, A.1 and A.2
    prk = hkdf_extract(bytes(range(0x0D)), b"\x0b" * 22)
    okm = hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42)
    _expect(prk, "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5", "RFC 5869 A.1 PRK")
    _expect(
        okm,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        "RFC 5869 A.1 OKM",
    )
    prk = hkdf_extract(bytes(range(0x60, 0xB0)), bytes(range(0x50)))
    okm = hkdf_expand(prk, bytes(range(0xB0, 0x100)), 82)
    _expect(
        okm,
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c"
        "59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        "RFC 5869 A.2 OKM",
    )


def _check_aead() -> None:
    # RFC 8439, 2.8.2
    plaintext = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you "
        b"only one tip for the future, sunscreen would be it."
    )
    key = bytes(range(0x80, 0xA0))
    nonce = bytes.fromhex("070000004041424344454647")
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    ciphertext, tag = seal(key, nonce, aad, plaintext)
    _expect(
        ciphertext,
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116",
        "RFC 8439 2.8.2 ciphertext",
    )
    _expect(tag, "1ae10b594f09e26a7e902ecbd0600691", "RFC 8439 2.8.2 tag")
    if open_sealed(key, nonce, aad, ciphertext + tag) != plaintext:
        raise SystemExit("RFC 8439 2.8.2: does not open")
    if open_sealed(key, nonce, aad, ciphertext + bytes(16)) is not None:
        raise SystemExit("RFC 8439 2.8.2: a wrong tag opens")


def _expect(got: bytes, want: str, what: str) -> None:
    if got.hex() != want:
        raise SystemExit(f"{what}: got {got.hex()}, expected {want}")
