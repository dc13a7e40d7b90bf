//! What a gateway is told about new devices, as files: their keys (`registry.csv`) and, best kept offline,
//! their rotation keys (`rotation-keys.csv`). Owns both formats. SPEC sections 3.1 and 3.2.
//!
//! ```text
//! device_id,generation,device_key        device_id,rotation_key
//! 0242acfffe110001,1,9f...               0242acfffe110001,03...
//! ```
//!
//! The first line is the head, by which the two are told apart; blank lines and lines that begin with `#` say
//! nothing. Ids and keys are hexadecimal digits. Errors name the file and the line, never what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use moteseal::keys::{DeviceKey, KEY_LEN, RotationKey};
use moteseal::number::{DeviceId, Generation};
use zeroize::Zeroizing;

use crate::files::{FileError, TextFile};

const REGISTRY_HEAD: &str = "device_id,generation,device_key";
const ROTATION_KEYS_HEAD: &str = "device_id,rotation_key";

/// The longest line of either file, in bytes.
const MAX_LINE_LEN: usize = 2 * DeviceId::LEN + 2 * KEY_LEN + 6;

/// A device and its key of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_field_names)] // the words of the protocol
pub struct Device {
    /// Its public name.
    pub device_id: DeviceId,
    /// The generation of `device_key`.
    pub generation: Generation,
    /// The key that it shares with its server.
    pub device_key: DeviceKey,
}

/// Reads a registry: every device once, in the order of the file.
pub fn read(path: &Path) -> Result<Vec<Device>, FileError> {
    let mut known = BTreeSet::new();
    let mut devices = Vec::new();
    each_row(path, REGISTRY_HEAD, |[device_id, generation, device_key]| {
        let device_id = parse_device_id(device_id)?;
        let generation = generation.parse().ok().and_then(Generation::new);
        let device = Device {
            device_id,
            generation: generation.ok_or("the generation is not a number from 1 to 255")?,
            device_key: parse_key(device_key).map(|key| DeviceKey::new(*key))?,
        };
        devices.push(device);
        if known.insert(device_id) { Ok(()) } else { Err(format!("device {device_id} is in the file twice")) }
    })?;
    Ok(devices)
}

/// Reads a file of rotation keys.
pub fn read_rotation_keys(path: &Path) -> Result<BTreeMap<DeviceId, RotationKey>, FileError> {
    let mut keys = BTreeMap::new();
    each_row(path, ROTATION_KEYS_HEAD, |[device_id, key]| {
        let device_id = parse_device_id(device_id)?;
        match keys.insert(device_id, parse_key(key).map(|key| RotationKey::new(*key))?) {
            None => Ok(()),
            Some(_) => Err(format!("device {device_id} is in the file twice")),
        }
    })?;
    Ok(keys)
}

/// The text of a registry.
pub fn text<'d>(devices: impl ExactSizeIterator<Item = &'d Device>) -> Zeroizing<String> {
    write_rows(REGISTRY_HEAD, devices, |Device { device_id, generation, device_key }, text| {
        write!(text, "{device_id},{},", generation.number())?;
        write_hex(device_key.expose(), text)
    })
}

/// The text of a file of rotation keys.
pub fn rotation_keys_text<'k>(
    keys: impl ExactSizeIterator<Item = (DeviceId, &'k RotationKey)>,
) -> Zeroizing<String> {
    write_rows(ROTATION_KEYS_HEAD, keys, |(device_id, key), text| {
        write!(text, "{device_id},")?;
        write_hex(key.expose(), text)
    })
}

/// Reads a device id: 16 hexadecimal digits.
pub fn parse_device_id(text: &str) -> Result<DeviceId, String> {
    let mut bytes = [0; DeviceId::LEN];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(DeviceId::new(bytes)),
        Err(_) => Err("the device id is not 16 hexadecimal digits".into()),
    }
}

/// Reads a key: 64 hexadecimal digits.
pub fn parse_key(text: &str) -> Result<Zeroizing<[u8; KEY_LEN]>, String> {
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    match hex::decode_to_slice(text, bytes.as_mut_slice()) {
        Ok(()) => Ok(bytes),
        Err(_) => Err("the key is not 64 hexadecimal digits".into()),
    }
}

/// Appends bytes as hexadecimal digits, without a copy elsewhere.
pub fn write_hex(bytes: &[u8], text: &mut String) -> std::fmt::Result {
    bytes.iter().try_for_each(|byte| write!(text, "{byte:02x}"))
}

fn each_row<const COLUMNS: usize>(
    path: &Path,
    head: &str,
    mut row: impl FnMut([&str; COLUMNS]) -> Result<(), String>,
) -> Result<(), FileError> {
    let file = TextFile::read(path)?;
    let mut lines = file.lines();
    if lines.next().is_none_or(|(_, first)| first != head) {
        return Err(file.error(format_args!("does not begin with the line {head}; this is another file")));
    }
    for (number, line) in lines {
        let mut fields = line.split(',').map(str::trim);
        let columns = std::array::from_fn(|_| fields.next());
        let read = match (all(columns), fields.next()) {
            (Some(columns), None) => row(columns),
            _ => Err(format!("does not have {COLUMNS} columns, {head}")),
        };
        read.map_err(|what| file.error_in(number, what))?;
    }
    Ok(())
}

fn all<const COLUMNS: usize>(columns: [Option<&str>; COLUMNS]) -> Option<[&str; COLUMNS]> {
    columns.iter().all(Option::is_some).then(|| columns.map(Option::unwrap_or_default))
}

fn write_rows<T>(
    head: &str,
    rows: impl ExactSizeIterator<Item = T>,
    row: impl Fn(T, &mut String) -> std::fmt::Result,
) -> Zeroizing<String> {
    // In one piece: a string that grows leaves copies of secrets behind.
    let mut text = Zeroizing::new(String::with_capacity((rows.len() + 1) * MAX_LINE_LEN));
    text.push_str(head);
    text.push('\n');
    for item in rows {
        // Writing to a string does not fail.
        let _ = row(item, &mut text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn with_file<T>(contents: &str, test: impl Fn(&Path) -> T) -> T {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.csv");
        std::fs::write(&path, contents).unwrap();
        test(&path)
    }

    fn error(contents: &str) -> String {
        let read = |path: &Path| read(path).unwrap_err().to_string();
        let error = with_file(contents, read);
        assert!(error.contains("keys.csv"), "{error}");
        assert!(!error.contains("0001020304"), "a secret is shown: {error}");
        error
    }

    fn device(id: u8, generation: u8) -> Device {
        Device {
            device_id: DeviceId::new([id; 8]),
            generation: Generation::new(generation).unwrap(),
            device_key: DeviceKey::new([id ^ 0xA5; 32]),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let devices = vec![device(1, 1), device(0xFF, 255)];
        assert_eq!(with_file(&text(devices.iter()), |path| read(path).unwrap()), devices);
        assert_eq!(with_file(&text([].iter()), |path| read(path).unwrap()), []);

        let keys = BTreeMap::from([1, 2].map(|id| (DeviceId::new([id; 8]), RotationKey::new([id; 32]))));
        let text = rotation_keys_text(keys.iter().map(|(id, key)| (*id, key)));
        assert_eq!(with_file(&text, |path| read_rotation_keys(path).unwrap()), keys);
    }

    #[test]
    fn a_text_is_as_long_as_was_reserved() {
        let devices = vec![device(1, 255); 100];
        let text = text(devices.iter());
        assert!(text.len() <= (devices.len() + 1) * MAX_LINE_LEN);
    }

    #[test]
    fn spreadsheets_and_comments_are_taken() {
        let contents = format!(
            "\u{feff}# of line 3\r\n{REGISTRY_HEAD}\r\n\r\n 0101010101010101 , 7 , {} \r\n",
            KEY.to_uppercase()
        );
        let devices = with_file(&contents, |path| read(path).unwrap());
        assert_eq!(devices.len(), 1);
        assert_eq!(devices[0].generation.number(), 7);
        assert_eq!(devices[0].device_key.expose()[..3], [0, 1, 2]);
    }

    #[test]
    fn each_mistake_is_told_with_its_line() {
        let good = format!("0101010101010101,1,{KEY}");
        let cases = [
            (format!("010101010101010,1,{KEY}"), "line 3: the device id is not 16 hexadecimal digits"),
            (format!("010101010101010g,1,{KEY}"), "line 3: the device id"),
            (format!("0202020202020202,0,{KEY}"), "line 3: the generation is not a number from 1 to 255"),
            (format!("0202020202020202,256,{KEY}"), "line 3: the generation"),
            (format!("0202020202020202,1,{KEY}0"), "line 3: the key is not 64 hexadecimal digits"),
            (format!("0202020202020202,1,{}", KEY.replace('3', "x")), "line 3: the key"),
            (format!("0202020202020202,{KEY}"), "line 3: does not have 3 columns"),
            (format!("{good},"), "line 3: does not have 3 columns"),
            (good.clone(), "line 3: device 0101010101010101 is in the file twice"),
        ];
        for (line, expected) in cases {
            let error = error(&format!("{REGISTRY_HEAD}\n{good}\n{line}\n"));
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn another_file_is_refused() {
        for contents in ["", "\n# only this\n", ROTATION_KEYS_HEAD, &format!("0101010101010101,1,{KEY}")] {
            assert!(error(contents).contains("does not begin with the line device_id,generation"));
        }
        let binary = |path: &Path| {
            std::fs::write(path, [0xFF, 0xFE]).unwrap();
            read(path).unwrap_err().to_string()
        };
        assert!(with_file("", binary).contains("is not a text file"));
        let missing = read(Path::new("/nowhere/registry.csv")).unwrap_err().to_string();
        assert!(missing.starts_with("/nowhere/registry.csv: cannot be read"), "{missing}");
    }
}
