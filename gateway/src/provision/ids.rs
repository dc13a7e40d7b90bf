//! The names of new devices: from a file, or made up.

use std::collections::BTreeMap;
use std::path::Path;

use moteseal::entropy::Entropy;
use moteseal::error::EntropyError;
use moteseal::number::DeviceId;

use crate::files::{FileError, TextFile};
use crate::registry::parse_device_id;

/// Reads a file of one id a line, perhaps under the head `device_id`.
pub fn read(path: &Path) -> Result<Vec<DeviceId>, FileError> {
    let file = TextFile::read(path)?;
    let mut lines_of = BTreeMap::new();
    let mut ids = Vec::new();
    for (at, (line, text)) in file.lines().enumerate() {
        if at == 0 && text.eq_ignore_ascii_case("device_id") {
            continue;
        }
        let id = parse_device_id(text).map_err(|what| file.error_in(line, what))?;
        if let Some(first) = lines_of.insert(id, line) {
            return Err(file.error_in(line, format_args!("device {id} stands in line {first} already")));
        }
        ids.push(id);
    }
    if ids.is_empty() { Err(file.error("holds no device id")) } else { Ok(ids) }
}

/// Makes up `count` ids: random, so that no two runs give one id twice, and with the bits of an EUI-64 that
/// is administered locally, so that none is one that a vendor gave out.
pub fn random(count: u32, entropy: &mut impl Entropy) -> Result<Vec<DeviceId>, EntropyError> {
    let one = |_| {
        let mut bytes = [0; DeviceId::LEN];
        entropy.fill(&mut bytes)?;
        let [first, ..] = &mut bytes;
        *first = *first & !0b01 | 0b10;
        Ok(DeviceId::new(bytes))
    };
    (0..count).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    #[test]
    fn random_ids_are_locally_administered_and_differ() {
        let ids = random(100, &mut random::os()).unwrap();
        assert!(ids.iter().all(|id| id.as_bytes()[0] & 0b11 == 0b10));
        assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }
}
