//! Where the keys of new devices come from: derived from the two secrets of a fleet, or each drawn by itself.
//! Owns the file `fleet.secret`. SPEC section 3.3.

use std::fmt::Write as _;
use std::path::Path;

use moteseal::error::EntropyError;
use moteseal::identity::{FactoryImage, Identity};
use moteseal::keys::{DeviceKey, FleetKey, KEY_LEN, RotationKey, RotationRoot};
use moteseal::number::{DeviceId, Generation};
use zeroize::Zeroizing;

use crate::files::{FileError, TextFile};
use crate::random;
use crate::registry::{parse_key, write_hex};

const FLEET_KEY: &str = "fleet_key";
const ROTATION_ROOT: &str = "rotation_root";
const HEAD: &str = "# The secrets of a fleet of Moteseal devices: whoever has them has every device key.\n\
                    # Keep this file offline. `moteseal provision --fleet FILE` adds devices to the fleet.\n";

/// The two secrets of a fleet.
#[derive(Debug)]
pub struct Fleet {
    fleet_key: FleetKey,
    rotation_root: RotationRoot,
}

impl Fleet {
    /// A new fleet.
    pub fn generate() -> Result<Self, EntropyError> {
        Ok(Self {
            fleet_key: FleetKey::new(*random::key()?),
            rotation_root: RotationRoot::new(*random::key()?),
        })
    }

    /// Reads what [`text`](Self::text) wrote.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let file = TextFile::read(path)?;
        let mut keys: [Option<Zeroizing<[u8; KEY_LEN]>>; 2] = [None, None];
        for (line, text) in file.lines() {
            let (name, key) = text.split_once('=').unwrap_or((text, ""));
            let [fleet_key, rotation_root] = &mut keys;
            let place = match name.trim() {
                FLEET_KEY => fleet_key,
                ROTATION_ROOT => rotation_root,
                _ => return Err(file.error_in(line, "is neither fleet_key= nor rotation_root=")),
            };
            let key = parse_key(key.trim()).map_err(|what| file.error_in(line, what))?;
            if place.replace(key).is_some() {
                return Err(file.error_in(line, "gives the same secret a second time"));
            }
        }
        match keys {
            [Some(fleet_key), Some(rotation_root)] if fleet_key != rotation_root => Ok(Self {
                fleet_key: FleetKey::new(*fleet_key),
                rotation_root: RotationRoot::new(*rotation_root),
            }),
            [Some(_), Some(_)] => Err(file.error("fleet_key and rotation_root must differ")),
            _ => Err(file.error("does not hold both fleet_key= and rotation_root=")),
        }
    }

    /// The file `fleet.secret`.
    pub fn text(&self) -> Zeroizing<String> {
        // In one piece: a string that grows leaves copies of secrets behind.
        let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + 4 * KEY_LEN + 64));
        text.push_str(HEAD);
        let keys = [(FLEET_KEY, self.fleet_key.expose()), (ROTATION_ROOT, self.rotation_root.expose())];
        for (name, key) in keys {
            // Writing to a string does not fail.
            let _ = write!(text, "{name}=");
            let _ = write_hex(key, &mut text);
            text.push('\n');
        }
        text
    }
}

/// Where keys come from.
#[derive(Debug)]
pub enum Keys {
    /// Derived from the secrets of a fleet.
    Fleet(Fleet),
    /// Each from the generator of the operating system.
    Random,
}

impl Keys {
    /// All that the factory flashes into this device.
    pub fn image(&self, device_id: DeviceId) -> Result<FactoryImage, EntropyError> {
        let (device_key, rotation_key) = match self {
            Self::Fleet(fleet) => (
                fleet.fleet_key.device_key(Generation::FIRST, device_id),
                fleet.rotation_root.rotation_key(device_id),
            ),
            Self::Random => (DeviceKey::new(*random::key()?), RotationKey::new(*random::key()?)),
        };
        Ok(FactoryImage::new(Identity { device_id, rotation_key }, device_key))
    }
}
