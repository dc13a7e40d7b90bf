//! A device from the factory, with its flash as a file; a gateway that knows it; and the relay between them.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use moteseal::boot_counter;
use moteseal::identity::FactoryImage;
use moteseal::keys::{DeviceKey, RotationKey};
use moteseal::number::{DeviceId, Generation};

use crate::auditor::Auditor;
use crate::gateway::{Gateway, PATIENCE, Site, moteseal};
use crate::machine::Machine;
use crate::relay::Relay;

/// The flash of the firmware, and its erase pages, in bytes.
const FLASH_LEN: usize = 64 * 1024;
pub const PAGE_LEN: usize = 4096;
/// Where the boot counter starts, and where it ends.
pub const COUNTER: std::ops::Range<usize> = 3 * PAGE_LEN..5 * PAGE_LEN;
/// How long a whole part of the factory image is.
const PART_LEN: usize = 64;

/// Everything but the firmware itself.
pub struct Rig {
    pub site: Site,
    pub id: DeviceId,
    device_key: DeviceKey,
    rotation_key: RotationKey,
    image: FactoryImage,
    pub relay: Relay,
}

impl Rig {
    /// Provisions a device by the real program, and starts a gateway for it.
    pub fn start() -> (Self, Gateway) {
        let site = Site { root: tempfile::tempdir().unwrap() };
        let fleet = site.root.path().join("fleet");
        let provisioned =
            moteseal().args(["provision", "--count", "1", "--out"]).arg(&fleet).output().unwrap();
        assert!(provisioned.status.success(), "{}", String::from_utf8_lossy(&provisioned.stderr));
        fs::copy(fleet.join("registry.csv"), site.registry()).unwrap();
        fs::copy(fleet.join("rotation-keys.csv"), site.rotation_keys()).unwrap();
        let images: Vec<_> = fs::read_dir(fleet.join("images")).unwrap().flatten().collect();
        let [image] = &images[..] else { panic!("one device has one image") };
        let image = FactoryImage::parse(&fs::read(image.path()).unwrap()).unwrap();
        let [Some(slot), None] = &image.slots else { panic!("a new device has one key") };
        let device_key = slot.device_key.clone();
        let gateway = Gateway::start(Self::serve_command(&site));
        let relay = Relay::start(gateway.addr);
        let (id, rotation_key) = (image.identity.device_id, image.identity.rotation_key.clone());
        let rig = Self { site, id, device_key, rotation_key, image, relay };
        rig.write_flash(&rig.factory_flash());
        (rig, gateway)
    }

    fn serve_command(site: &Site) -> std::process::Command {
        let mut command = site.serve_command();
        command.arg("--rotation-keys").arg(site.rotation_keys());
        command
    }

    /// The gateway once more, after it ended.
    pub fn restart_gateway(&self) -> Gateway {
        let gateway = Gateway::start(Self::serve_command(&self.site));
        self.relay.redirect(gateway.addr);
        gateway
    }

    /// The firmware, with telemetry every so many milliseconds.
    pub fn machine(&self, every_ms: u32) -> Machine {
        Machine::start(&self.flash(), self.relay.addr, every_ms)
    }

    pub fn flash(&self) -> PathBuf {
        self.site.root.path().join("device.flash")
    }

    pub fn read_flash(&self) -> Vec<u8> {
        let contents = fs::read(self.flash()).unwrap();
        assert_eq!(contents.len(), FLASH_LEN);
        contents
    }

    /// Returns as soon as the flash says something else than now.
    pub fn wait_for_write(&self) {
        let (before, end) = (self.read_flash(), Instant::now() + PATIENCE);
        while self.read_flash() == before {
            assert!(Instant::now() < end, "nothing is written");
        }
    }

    pub fn write_flash(&self, contents: &[u8]) {
        fs::write(self.flash(), contents).unwrap();
    }

    /// Flash as the factory leaves it.
    pub fn factory_flash(&self) -> Vec<u8> {
        let mut contents = vec![0xFF; FLASH_LEN];
        let mut program =
            |start: usize, bytes: &[u8]| contents[start..start + bytes.len()].copy_from_slice(bytes);
        for (start, part) in self.image.parts(PAGE_LEN.try_into().unwrap()) {
            program(start.try_into().unwrap(), part.expose());
        }
        program(COUNTER.start, &boot_counter::entry(0));
        contents
    }

    /// The generations in the two key slots of the flash, as they stand there now.
    pub fn generations(&self) -> [Option<Generation>; 2] {
        let contents = self.read_flash();
        [1, 2].map(|page: usize| {
            let part = contents[page * PAGE_LEN..][..PART_LEN].try_into().unwrap();
            moteseal::identity::KeySlot::parse(part).unwrap().map(|slot| slot.generation)
        })
    }

    /// Opens everything that the relay has seen; finds whatever was sealed twice.
    pub fn audit(&self) -> Auditor {
        let mut auditor = Auditor::new(self.id, self.device_key.clone(), self.rotation_key.clone());
        for captured in self.relay.captured() {
            auditor.take(&captured);
        }
        auditor
    }

    /// Asks the gateway to send a command; its number.
    pub fn send(&self, command: &[u8]) -> serde_json::Value {
        let queued = self.site.ask("send", &[&self.id.to_string(), &hex::encode(command)]);
        queued[0]["command"].clone()
    }
}
