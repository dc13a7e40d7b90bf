//! What a datagram costs beside the raw cipher, in one run: protect and verify at five lengths, a session set up,
//! a Hello accepted. `python3 benches/ratios.py` puts the medians side by side and holds them to the budgets.

use std::hint::black_box;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main};
use hkdf::Hkdf;
use sha2::Sha256;

use moteseal::aead::{Backend, Nonce, Portable};
use moteseal::control::Role;
use moteseal::delivery::Timing;
use moteseal::entropy::{Entropy, FromFn};
use moteseal::error::EntropyError;
use moteseal::keys::{DeviceKey, SessionKeys};
use moteseal::number::{ConnectionId, DeviceId, Epoch, Generation, Salt, ServerSalt};
use moteseal::record::{GatewayId, Record};
use moteseal::server::{FixedTable, Received, Server};
use moteseal::session::{Incoming, Outgoing, Session};
use moteseal::wire::{Header, Hello, Unverified};

const LENGTHS: [usize; 5] = [0, 16, 64, 256, 1024];
/// How many datagrams one session carries before the bench takes a new one.
const RUN: usize = 4096;
const DEVICE: DeviceId = DeviceId::new([1; 8]);
const SALT: Salt = Salt([2; 6]);

fn device_key() -> DeviceKey {
    DeviceKey::new([3; 32])
}

fn session_keys() -> SessionKeys {
    device_key().session_keys(DEVICE, Epoch::new(1, 0), SALT, ServerSalt([4; 8]))
}

fn session<A: Backend>(role: Role) -> Session<A> {
    let cid = ConnectionId::new(1, 7).expect("7 fits 6 bits");
    Session::new(role, session_keys(), Epoch::new(1, 0), cid)
}

/// The raw cipher, with a fresh key set up for each call as a session does it.
trait Raw: Backend {
    const NAME: &str;
    fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; 16];
    fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8], tag: [u8; 16]);
}

impl Raw for Portable {
    const NAME: &str = "portable";

    fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; 16] {
        let cipher = ChaCha20Poly1305::new(key.into());
        cipher.encrypt_inout_detached(&nonce.into(), aad, buffer.into()).expect("short").into()
    }

    fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8], tag: [u8; 16]) {
        let cipher = ChaCha20Poly1305::new(key.into());
        cipher.decrypt_inout_detached(&nonce.into(), aad, buffer.into(), &tag.into()).expect("authentic");
    }
}

#[cfg(feature = "ring")]
impl Raw for moteseal::aead::Ring {
    const NAME: &str = "ring";

    fn seal(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> [u8; 16] {
        use ring::aead;
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).expect("32 bytes");
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = aead::LessSafeKey::new(key).seal_in_place_separate_tag(nonce, aead::Aad::from(aad), buffer);
        tag.expect("short").as_ref().try_into().expect("16 bytes")
    }

    fn open(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], buffer: &mut [u8], tag: [u8; 16]) {
        use ring::aead;
        let key =
            aead::LessSafeKey::new(aead::UnboundKey::new(&aead::CHACHA20_POLY1305, key).expect("32 bytes"));
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let (aad, tag) = (aead::Aad::from(aad), aead::Tag::from(tag));
        key.open_in_place_separate_tag(nonce, aad, tag, buffer, 0..).expect("authentic");
    }
}

fn raw_nonce(number: usize) -> [u8; 12] {
    let number = u16::try_from(number).expect("a run is short");
    *Nonce::data(moteseal::number::SequenceNumber::new(number)).as_bytes()
}

fn protect<A: Raw>(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let payload = vec![0xA5; len];
    let mut out = vec![0; len + 64];
    group.bench_function(format!("{}/protect/{len}/moteseal", A::NAME), |bencher| {
        let (mut sender, mut left) = (session::<A>(Role::Device), RUN);
        bencher.iter(|| {
            if left == 0 {
                (sender, left) = (session(Role::Device), RUN);
            }
            left -= 1;
            let outgoing = Outgoing { payload: black_box(&payload), ..Outgoing::default() };
            sender.protect(outgoing, &mut out).expect("the buffer is long enough").len
        });
    });
    let (key, mut number) = (*session_keys().up.expose(), 0);
    group.bench_function(format!("{}/protect/{len}/raw", A::NAME), |bencher| {
        bencher.iter(|| {
            number = (number + 1) % RUN;
            out[3..3 + len].copy_from_slice(black_box(&payload));
            let (aad, rest) = out.split_at_mut(3);
            <A as Raw>::seal(black_box(&key), raw_nonce(number), aad, &mut rest[..len])
        });
    });
}

fn verify<A: Raw>(group: &mut BenchmarkGroup<'_, WallTime>, len: usize) {
    let payload = vec![0xA5; len];
    let mut sender = session::<A>(Role::Device);
    let datagrams: Vec<Vec<u8>> = (0..RUN)
        .map(|_| {
            let mut out = vec![0; len + 64];
            let outgoing = Outgoing { payload: &payload, ..Outgoing::default() };
            let protected = sender.protect(outgoing, &mut out).expect("the buffer is long enough");
            out.truncate(protected.len);
            out
        })
        .collect();
    let mut buffer = vec![0; len + 64];
    group.bench_function(format!("{}/verify/{len}/moteseal", A::NAME), |bencher| {
        let (mut receiver, mut next) = (session::<A>(Role::Server), 0);
        bencher.iter(|| {
            if next == RUN {
                (receiver, next) = (session(Role::Server), 0);
            }
            let datagram = &mut buffer[..datagrams[next].len()];
            datagram.copy_from_slice(&datagrams[next]);
            next += 1;
            let unverified = Unverified::parse(black_box(datagram)).expect("well formed");
            let Header::Data(data) = unverified.header else { panic!("it is a Data") };
            match receiver.verify(&data, unverified.sealed).expect("authentic and fresh") {
                Incoming::New(verified) => verified.number,
                Incoming::Repeat(number) => number,
            }
        });
    });
    let (key, mut next) = (*session_keys().up.expose(), 0);
    group.bench_function(format!("{}/verify/{len}/raw", A::NAME), |bencher| {
        bencher.iter(|| {
            next = (next + 1) % RUN;
            let datagram = &mut buffer[..datagrams[next].len()];
            datagram.copy_from_slice(&datagrams[next]);
            let (aad, sealed) = datagram.split_at_mut(datagrams[next].len() - len - 16);
            let (ciphertext, tag) = sealed.split_at_mut(len);
            let tag = (&*tag).try_into().expect("16 bytes");
            <A as Raw>::open(black_box(&key), raw_nonce(next), aad, ciphertext, tag);
        });
    });
}

/// The keys of a session and the session itself, beside the two HMAC chains of their HKDF-Expand.
fn set_up_session<A: Raw>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let device_key = device_key();
    group.bench_function(format!("{}/session/set-up/moteseal", A::NAME), |bencher| {
        bencher.iter(|| {
            let (epoch, salt, server_salt) = (Epoch::new(1, 0), black_box(SALT), ServerSalt([4; 8]));
            let keys = device_key.session_keys(DEVICE, epoch, salt, server_salt);
            let cid = ConnectionId::new(1, 7).expect("7 fits 6 bits");
            Session::<A>::new(Role::Device, keys, epoch, cid)
        });
    });
    group.bench_function(format!("{}/session/set-up/raw", A::NAME), |bencher| {
        bencher.iter(|| expand::<64, 47>(black_box(device_key.expose())));
    });
}

/// A Hello accepted by the server, up to its Welcome, on a store that costs nothing; beside all the cryptography
/// in it: two HKDF-Expands, one open, one seal.
fn accept_hello<A: Raw>(group: &mut BenchmarkGroup<'_, WallTime>) {
    let hello = hello::<A>();
    group.bench_function(format!("{}/session/accept/moteseal", A::NAME), |bencher| {
        bencher.iter_batched_ref(
            || server::<A>(),
            |server| {
                let Received::Pending(held, change) = server.receive(0, 0u8, black_box(hello)) else {
                    panic!("the Hello is fresh")
                };
                server.commit(held, change.committed()).expect("the proof is this change's").welcome
            },
            BatchSize::SmallInput,
        );
    });
    let key = *device_key().expose();
    let nonce = *Nonce::hello(Epoch::new(1, 0), SALT).as_bytes();
    let tag = hello[21..].try_into().expect("16 bytes");
    group.bench_function(format!("{}/session/accept/raw", A::NAME), |bencher| {
        bencher.iter(|| {
            // hello_key, up_key || down_key; the lengths of info are those of SPEC 5.1.
            let hello_key = expand::<32, 25>(black_box(&key));
            black_box(hello_key);
            <A as Raw>::open(device_hello_key(), nonce, &hello[..9], &mut [], tag);
            let session = expand::<64, 47>(black_box(&key));
            let down_key = session[32..].try_into().expect("32 bytes");
            <A as Raw>::seal(down_key, *Nonce::welcome().as_bytes(), &hello[..11], &mut [0])
        });
    });
}

/// HKDF-Expand to `L` bytes with `I` bytes of info.
fn expand<const L: usize, const I: usize>(key: &[u8; 32]) -> [u8; L] {
    let mut okm = [0; L];
    Hkdf::<Sha256>::from_prk(key).expect("32 bytes").expand(&[5; I], &mut okm).expect("short");
    okm
}

fn device_hello_key() -> &'static [u8; 32] {
    static KEY: std::sync::LazyLock<[u8; 32]> =
        std::sync::LazyLock::new(|| *device_key().hello_key(DEVICE).expose());
    &KEY
}

fn server<A: Backend>() -> Server<FixedTable<u8, 1, 64, A>, impl Entropy> {
    let mut table = FixedTable::new();
    table.insert(Record::provisioned(DEVICE, Generation::FIRST, device_key())).expect("there is room");
    let entropy = FromFn(|bytes: &mut [u8]| -> Result<(), EntropyError> {
        bytes.fill(0x5A);
        Ok(())
    });
    Server::new(table, entropy, GatewayId(0), Timing::DEFAULT, 0).expect("the generator runs")
}

fn hello<A: Backend>() -> [u8; 37] {
    let epoch = Epoch::new(1, 0);
    let header = Header::Hello(Hello { generation_bits: 1, device_id: DEVICE, epoch, salt: SALT }).encode();
    let aad = &header.as_bytes()[..9];
    let key = device_key().hello_key(DEVICE);
    let tag = <A as Backend>::seal(&key, Nonce::hello(epoch, SALT), aad, &mut []);
    let mut hello = [0; 37];
    hello[..21].copy_from_slice(header.as_bytes());
    hello[21..].copy_from_slice(&tag);
    hello
}

fn backend<A: Raw>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("datagrams");
    for len in LENGTHS {
        protect::<A>(&mut group, len);
        verify::<A>(&mut group, len);
    }
    set_up_session::<A>(&mut group);
    accept_hello::<A>(&mut group);
    group.finish();
}

fn all(criterion: &mut Criterion) {
    backend::<Portable>(criterion);
    #[cfg(feature = "ring")]
    backend::<moteseal::aead::Ring>(criterion);
}

criterion_group!(benches, all);
criterion_main!(benches);
