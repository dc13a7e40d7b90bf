//! A file of test vectors, and bytes in it.

use std::fmt;
use std::path::Path;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};

/// Reads a file of `test-vectors/` and gives its lists. What every file has is checked here.
pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("test-vectors").join(name).with_extension("json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    parse(name, &text).unwrap_or_else(|error| panic!("{name}.json: {error}"))
}

fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, serde_json::Error> {
    let mut file: serde_json::Map<_, _> = serde_json::from_str(text)?;
    let mut head = |field: &str| file.remove(field).unwrap_or_default();
    assert_eq!(head("format"), "moteseal/1 test vectors, edition 1");
    assert_eq!(head("file"), name);
    assert!(head("description").is_string());
    serde_json::from_value(file.into())
}

/// A list that has something in it.
#[derive(Clone)]
pub struct Cases<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Cases<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let cases = Vec::deserialize(deserializer)?;
        if cases.is_empty() { Err(D::Error::custom("no cases")) } else { Ok(Self(cases)) }
    }
}

impl<T> std::ops::Deref for Cases<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

/// Bytes in lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

/// `N` bytes in lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Array<const N: usize>(pub [u8; N]);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(deserializer)?;
        let bytes = hex::decode(&digits).map_err(D::Error::custom)?;
        if hex::encode(&bytes) == digits { Ok(Self(bytes)) } else { Err(D::Error::custom("not lower case")) }
    }
}

impl<'de, const N: usize> Deserialize<'de> for Array<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?.0;
        let len = bytes.len();
        bytes.try_into().map(Self).map_err(|_| D::Error::custom(format!("{len} bytes, not {N}")))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl<const N: usize> fmt::Debug for Array<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

#[test]
fn nothing_is_left_unread() {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        list: Vec<Outer>,
    }
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        a: u8,
        #[serde(flatten)]
        inner: Inner,
    }
    #[derive(Debug, Deserialize)]
    struct Inner {
        b: Array<2>,
    }
    let file = |list: &str, more: &str| {
        let head = r#""format": "moteseal/1 test vectors, edition 1", "file": "x", "description": """#;
        parse::<File>("x", &format!(r#"{{{head}, "list": [{{{list}}}]{more}}}"#))
    };
    let read = file(r#""a": 1, "b": "0aff""#, "").unwrap();
    assert_eq!((read.list[0].a, read.list[0].inner.b), (1, Array([0x0A, 0xFF])));
    for (list, more) in [
        (r#""a": 1, "b": "0aff", "c": 2"#, ""),
        (r#""a": 1, "b": "0aff""#, r#", "other": []"#),
        (r#""a": 1, "b": "0AFF""#, ""),
        (r#""a": 1, "b": "0aff00""#, ""),
        (r#""b": "0aff""#, ""),
        (r#""a": 1"#, ""),
    ] {
        assert!(file(list, more).is_err(), "{list}{more}");
    }
    assert!(serde_json::from_str::<Cases<u8>>("[]").is_err());
}
