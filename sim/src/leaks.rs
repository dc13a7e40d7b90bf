//! Looks for secrets in text and bytes, in every form in which a program may have let one out: as it is, in hexadecimal digits
//! of either case, in base64 of either alphabet, escaped, and as a list of numbers.

use std::collections::{BTreeSet, HashMap};

/// The length of the stretches that are looked for, and how far apart they begin: of 16 bytes in a row one is seen.
const WINDOW: usize = 9;
const STEP: usize = 8;
/// So many bytes at the start of a form are what it is found by.
const BEGIN: usize = 8;

/// Secrets that must not be seen.
#[derive(Debug, Default)]
pub struct Secrets {
    names: Vec<String>,
    /// Every form of every stretch, with the number of its secret.
    forms: HashMap<[u8; BEGIN], Vec<(usize, Vec<u8>)>>,
    /// The pairs of bytes that forms begin with: most outputs are long and have few of them.
    pairs: Pairs,
}

impl Secrets {
    /// Adds one, by a name that is told where it is found.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        let last = secret.len().saturating_sub(WINDOW);
        let starts = (0..last).step_by(STEP).chain([last]);
        for window in starts.filter_map(|at| secret.get(at..at + WINDOW)) {
            for form in forms(window) {
                let Some(begin) = form.first_chunk() else { continue };
                self.pairs.set(*begin);
                self.forms.entry(*begin).or_default().push((self.names.len(), form));
            }
        }
        self.names.push(name.to_owned());
    }

    /// The names of those that are in this output.
    pub fn found_in(&self, output: &[u8]) -> Vec<&str> {
        let mut found = BTreeSet::new();
        // Lists are written with blanks, line breaks and prefixes in between, or without.
        for text in [output, &dense(output)] {
            self.find(text, &mut found);
        }
        found.into_iter().filter_map(|number: usize| Some(self.names.get(number)?.as_str())).collect()
    }

    fn find(&self, text: &[u8], found: &mut BTreeSet<usize>) {
        for (at, begin) in text.windows(BEGIN).enumerate() {
            let Some(begin) = begin.first_chunk().filter(|begin| self.pairs.has(**begin)) else { continue };
            for (number, form) in self.forms.get(begin).into_iter().flatten() {
                if text.get(at..).is_some_and(|rest| rest.starts_with(form)) {
                    found.insert(*number);
                }
            }
        }
    }
}

/// A set of pairs of bytes.
#[derive(Debug)]
struct Pairs(Box<[bool]>);

impl Default for Pairs {
    fn default() -> Self {
        Self(vec![false; 1 << 16].into())
    }
}

impl Pairs {
    fn set(&mut self, [a, b, ..]: [u8; BEGIN]) {
        self.0[usize::from(a) << 8 | usize::from(b)] = true;
    }

    fn has(&self, [a, b, ..]: [u8; BEGIN]) -> bool {
        self.0[usize::from(a) << 8 | usize::from(b)]
    }
}

/// Without blanks, and without the prefix of hexadecimal numbers.
fn dense(output: &[u8]) -> Vec<u8> {
    let mut dense = Vec::with_capacity(output.len());
    for byte in output.iter().filter(|byte| !byte.is_ascii_whitespace()) {
        if *byte == b'x' && dense.last() == Some(&b'0') {
            dense.pop();
        } else {
            dense.push(*byte);
        }
    }
    dense
}

/// One stretch of a secret in every form.
fn forms(window: &[u8]) -> Vec<Vec<u8>> {
    let each = |separator: &str, show: fn(&u8) -> String| {
        window.iter().map(show).collect::<Vec<_>>().join(separator)
    };
    let numbers: [fn(&u8) -> String; 5] = [
        |byte| format!("{byte}"),
        |byte| format!("{byte:x}"),
        |byte| format!("{byte:X}"),
        |byte| format!("{byte:02x}"),
        |byte| format!("{byte:02X}"),
    ];
    let lists = numbers.iter().flat_map(|show| [each(",", *show), each(":", *show)]);
    // Blanks are taken out before the search.
    let blanks = [0, 3, 4].map(|show| each("", numbers[show]));
    let base64 = base64(window);
    let of_urls = base64.replace('+', "-").replace('/', "_");
    let texts = lists.chain(blanks).chain([base64, of_urls, window.escape_ascii().to_string()]);
    texts.map(String::into_bytes).chain([window.to_vec()]).collect()
}

/// Without padding: a stretch is a multiple of three.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| char::from(DIGITS[bits as usize & 63]);
    let chunks = bytes.as_chunks::<3>().0.iter();
    let four = |[a, b, c]: &[u8; 3]| {
        let bits = u32::from_be_bytes([0, *a, *b, *c]);
        [digit(bits >> 18), digit(bits >> 12), digit(bits >> 6), digit(bits)]
    };
    chunks.flat_map(four).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u8; 32] = *b"\x01\x9a\xfe\x03 a secret of thirty two byte";

    #[test]
    fn a_secret_is_found_in_every_form_and_in_part() {
        let mut secrets = Secrets::default();
        secrets.add("it", &SECRET);
        let hex = SECRET.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        for output in [
            SECRET.to_vec(),
            SECRET[16..].to_vec(),
            format!("{SECRET:?}").into_bytes(),
            format!("{SECRET:#?}").into_bytes(),
            format!("{SECRET:x?}").into_bytes(),
            format!("{SECRET:#04X?}").into_bytes(),
            hex.to_uppercase().into_bytes(),
            format!("key={}", &hex[10..]).into_bytes(),
            b"AZr+AyBhIHNlY3JldCBvZiB0aGlydHkgdHdvIGJ5dGU".to_vec(),
            b"xx AZr-AyBhIHNlY3JldCBvZiB0aGlydHkgdHdvIGJ5dGU".to_vec(),
            b"bytes: 01:9a:fe:03:20:61:20:73:65:63".to_vec(),
            b"  1 154 254   3  32  97\n 32 115 101  99 114 101".to_vec(),
            SECRET.escape_ascii().to_string().into_bytes(),
        ] {
            assert_eq!(secrets.found_in(&output), ["it"], "{}", String::from_utf8_lossy(&output));
        }
        assert_eq!(secrets.found_in(&[&SECRET[..8], &[0; 9]].concat()), [""; 0]);
        assert_eq!(secrets.found_in(b""), [""; 0]);
    }
}
