//! The life of a fleet as operators lead it: everything that the program can do, over a relay that keeps every datagram.

use std::fs;

use moteseal::identity::{KeySlot, PART_LEN};
use moteseal::keys::DeviceKey;
use moteseal::number::DeviceId;
use moteseal::wire::{Header, Unverified};

use crate::relay::{Relay, datagrams};
use crate::search::Search;
use crate::site::{PROGRAM, Running, Site};

/// Devices and keys that `provision` made.
pub struct Fleet {
    pub ids: Vec<String>,
    pub device_keys: Vec<String>,
    pub rotation_keys: Vec<String>,
}

impl Fleet {
    /// A fleet of two, one device more of the same fleet, and one with a key of its own.
    pub fn provision(site: &mut Site, search: &mut Search) -> Self {
        site.succeed(&["provision", "--count", "2", "--out", "fleet", "--flash-base", "0x8000"]);
        site.succeed(&["provision", "--count", "1", "--fleet", "fleet/fleet.secret", "--out", "more"]);
        site.succeed(&["provision", "--count", "1", "--random-keys", "--out", "odd"]);
        for directory in ["fleet", "more", "odd"] {
            search.learn(&site.path(directory).join("registry.csv"));
            search.learn(&site.path(directory).join("rotation-keys.csv"));
        }
        search.learn(&site.path("fleet/fleet.secret"));
        assert_eq!(search.keys, 10);
        let registry = fs::read_to_string(site.path("fleet/registry.csv")).unwrap();
        let rotation_keys = fs::read_to_string(site.path("fleet/rotation-keys.csv")).unwrap();
        let column = |text: &str, at: usize| {
            let rows = text.lines().skip(1);
            rows.map(|row| row.split(',').nth(at).unwrap().to_owned()).collect()
        };
        Self {
            ids: column(&registry, 0),
            device_keys: column(&registry, 2),
            rotation_keys: column(&rotation_keys, 1),
        }
    }

    /// Everything that works.
    pub fn live(&self, site: &mut Site, search: &mut Search) {
        let relays = [Relay::start(), Relay::start()];
        let [first, second] = [self.ids[0].as_str(), &self.ids[1]];
        let mut gateway = serve(site, &relays, &["--registry", "fleet/registry.csv"]);
        let mut device = self.device(site, &relays, 0, &["--connect"]);
        device.expect("session", 1);
        device.say("hello");
        device.expect("acknowledged", 1);
        site.succeed(&["send", "--store", "store", first, "c0ffee", "--idempotent", "--expires", "60"]);
        device.expect("command", 1);
        site.succeed(&["devices", "--store", "store"]);
        site.look_at(&gateway);
        site.look_at(&device);
        device.stop(site);

        // The journal holds the secret until the device has taken it.
        site.succeed(&["rotate", "--store", "store", first, "--rotation-keys", "fleet/rotation-keys.csv"]);
        gateway.expect("rotation_begun", 1);
        let during = fs::read(site.path("store/journal")).unwrap();
        let mut device = self.device(site, &relays, 0, &[]);
        device.say("hex:00");
        device.expect("rotated", 1);
        gateway.expect("rotation_finished", 1);
        search.add("rotation secret", &secret_in(&during, &device_key(site, 0)));

        site.succeed(&["backup", "--store", "store", "--to", "backup1"]);
        let mut other = self.device(site, &relays, 1, &["--no-rng", "--connect", "--max-age", "10"]);
        other.expect("session", 1);
        for (verb, event) in [("quarantine", "quarantined"), ("readmit", "readmitted")] {
            site.succeed(&[verb, "--store", "store", second]);
            gateway.expect(event, 1);
        }
        other.say("again");
        other.expect("acknowledged", 1);
        gateway.say(&format!("rotate {second} {}", self.rotation_keys[1]));
        other.expect("rotated", 1);
        gateway.expect("rotation_finished", 2);
        let keys = [(0, self.key(0)), (0, device_key(site, 0)), (1, self.key(1)), (1, device_key(site, 1))];
        site.succeed(&["revoke", "--store", "store", second]);
        other.kill(site);
        gateway.stop(site);

        site.succeed(&["backup", "--store", "store", "--to", "backup2"]);
        site.succeed(&["restore", "--store", "store", "--from", "backup1"]);
        let rotation_keys = ["--registry", "more/registry.csv", "--rotation-keys", "fleet/rotation-keys.csv"];
        let mut gateway = serve(site, &relays, &rotation_keys);
        device.say("after the restore");
        device.expect("moved", 1);
        device.expect("unknown", 1);
        device.say("once more");
        device.expect("acknowledged", 2);
        gateway.say(&format!("rotate {first}"));
        device.expect("rotated", 2);
        gateway.expect("rotation_finished", 1);
        gateway.kill(site);
        serve(site, &relays, &[]).stop(site);
        device.kill(site);

        let last = (0, device_key(site, 0));
        let keys: Vec<_> = keys.into_iter().chain([last]).collect();
        self.derive(&keys, &relays, search);
        inspect(site, &relays);
        for datagram in datagrams(&relays) {
            site.said.push(("a datagram".into(), datagram));
        }
    }

    fn id(&self, device: usize) -> DeviceId {
        DeviceId::new(hex::decode(&self.ids[device]).unwrap().try_into().unwrap())
    }

    /// Its first key.
    fn key(&self, device: usize) -> DeviceKey {
        DeviceKey::new(hex::decode(&self.device_keys[device]).unwrap().try_into().unwrap())
    }

    pub fn image(&self, device: usize) -> String {
        format!("fleet/images/{}.bin", self.ids[device])
    }

    fn device(&self, site: &Site, relays: &[Relay; 2], device: usize, more: &[&str]) -> Running {
        let (image, state) = (self.image(device), format!("state{device}"));
        let front = relays[device].address();
        let mut arguments = vec!["device", "--image", &image, "--state", &state, "--server", &front];
        arguments.extend(more);
        let mut running = site.start(PROGRAM, &arguments);
        running.expect("started", 1);
        running
    }

    /// The keys that nobody wrote down: of the next generations, and what is derived for each Hello and session.
    fn derive(&self, keys: &[(usize, DeviceKey)], relays: &[Relay; 2], search: &mut Search) {
        for (device, key) in keys {
            search.add("a device key", key.expose());
            search.add("a hello key", key.hello_key(self.id(*device)).expose());
        }
        let (mut hellos, mut sessions) = (Vec::new(), 0);
        for mut datagram in datagrams(relays) {
            match Unverified::parse(&mut datagram).unwrap().header {
                Header::Hello(hello) => hellos.push(hello),
                Header::Welcome(welcome) => {
                    let asked = hellos.iter().filter(|hello| hello.salt.echo() == welcome.echo);
                    for (hello, (device, key)) in
                        asked.flat_map(|hello| keys.iter().map(move |key| (hello, key)))
                    {
                        let (id, salt) = (self.id(*device), welcome.server_salt);
                        let session = key.session_keys(id, hello.epoch, hello.salt, salt);
                        search.add("an up key", session.up.expose());
                        search.add("a down key", session.down.expose());
                        sessions += 1;
                    }
                }
                _ => {}
            }
        }
        assert!(sessions >= 6 * keys.len(), "{sessions} possible sessions");
    }
}

/// All that was on the air, to a reader without keys and to one with all of them.
fn inspect(site: &mut Site, relays: &[Relay; 2]) {
    let lines: Vec<_> = datagrams(relays).iter().map(hex::encode).collect();
    let lines = lines.join("\n");
    assert!(site.run(&["inspect"], &lines).success());
    let keys = ["--keys", "fleet/registry.csv", "--rotation-keys", "fleet/rotation-keys.csv"];
    site.run(&["inspect", keys[0], keys[1], keys[2], keys[3]], &lines);
    let shown = site.said[site.said.len() - 2].1.clone();
    assert!(String::from_utf8(shown).unwrap().contains("rotate to generation 2, secret not shown"));
}

fn serve(site: &Site, relays: &[Relay; 2], more: &[&str]) -> Running {
    let mut arguments =
        vec!["serve", "--listen", "127.0.0.1:0", "--store", "store", "--answer-timeout", "200"];
    arguments.extend(more);
    let mut running = site.start(PROGRAM, &arguments);
    let addr = running.expect("listening", 1)["addr"].as_str().unwrap().parse().unwrap();
    for relay in relays {
        relay.lead_to(addr);
    }
    running
}

/// The newest key in a device's flash.
fn device_key(site: &Site, device: usize) -> DeviceKey {
    let flash = fs::read(site.path(&format!("state{device}"))).unwrap();
    let slots = [4096, 8192].map(|at| KeySlot::parse(flash[at..at + PART_LEN].try_into().unwrap()).unwrap());
    let newest = slots.into_iter().flatten().max_by_key(|slot| slot.generation.number());
    newest.unwrap().device_key
}

/// The secret stands before the key that is made of it.
fn secret_in(journal: &[u8], key: &DeviceKey) -> [u8; 32] {
    let at = journal.windows(32).position(|window| window == key.expose()).unwrap();
    journal[at - 32..at].try_into().unwrap()
}
