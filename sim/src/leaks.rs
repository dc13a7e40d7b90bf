//! Looks for secrets in text and bytes, in every form in which a program may have let one out: as it is, in hexadecimal digits
//! of either case, in base64, and as a list of numbers.

/// The length of the stretches that are looked for, and how far apart they begin: of 16 bytes in a row one is seen.
const WINDOW: usize = 9;
const STEP: usize = 8;

/// Secrets that must not be seen.
#[derive(Debug, Default)]
pub struct Secrets(Vec<Secret>);

#[derive(Debug)]
struct Secret {
    name: String,
    raw: Vec<Vec<u8>>,
    written: Vec<String>,
}

impl Secrets {
    /// Adds one, by a name that is told where it is found.
    pub fn add(&mut self, name: &str, secret: &[u8]) {
        let last = secret.len().saturating_sub(WINDOW);
        let starts = (0..last).step_by(STEP).chain([last]);
        let raw: Vec<_> = starts.filter_map(|at| Some(secret.get(at..at + WINDOW)?.to_vec())).collect();
        let written = raw.iter().flat_map(|window| forms(window)).collect();
        self.0.push(Secret { name: name.to_owned(), raw, written });
    }

    /// The names of those that are in this output.
    pub fn found_in(&self, output: &[u8]) -> Vec<&str> {
        let text = String::from_utf8_lossy(output);
        // Lists are written with blanks, line breaks and prefixes in between, or without.
        let dense = text.split_whitespace().collect::<String>().replace("0x", "");
        let is_raw = |form: &Vec<u8>| output.windows(WINDOW).any(|window| window == form);
        let is_in = |secret: &&Secret| {
            let is_written = |form: &String| text.contains(form.as_str()) || dense.contains(form.as_str());
            secret.raw.iter().any(is_raw) || secret.written.iter().any(is_written)
        };
        self.0.iter().filter(is_in).map(|secret| secret.name.as_str()).collect()
    }
}

/// One stretch of a secret in every form.
fn forms(window: &[u8]) -> Vec<String> {
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
    let digits = [each("", numbers[3]), each("", numbers[4])];
    lists.chain(digits).chain([base64(window)]).collect()
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
            b"bytes: 01:9a:fe:03:20:61:20:73:65:63".to_vec(),
        ] {
            assert_eq!(secrets.found_in(&output), ["it"], "{}", String::from_utf8_lossy(&output));
        }
        assert_eq!(secrets.found_in(&[&SECRET[..8], &[0; 9]].concat()), [""; 0]);
        assert_eq!(secrets.found_in(b""), [""; 0]);
    }
}
