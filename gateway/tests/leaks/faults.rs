//! Every mistake that we know of, each with keys in it: arguments where they do not belong, files of the wrong kind and
//! damaged ones, requests that make no sense. Each must fail.

use std::fs;
use std::process::Command;

use crate::life::Fleet;
use crate::site::{PROGRAM, Running, Site};

/// Makes all of them; how many.
pub fn make_all(fleet: &Fleet, site: &mut Site) -> usize {
    let kinds = [arguments, text_files, images, flash, stores, backups, requests, payloads];
    kinds.iter().map(|make| make(fleet, site)).sum()
}

/// Runs the program, which must refuse; 1, to be counted.
fn refuse(site: &mut Site, arguments: &[&str], stdin: &str) -> usize {
    assert!(!site.run(arguments, stdin).success(), "{arguments:?}");
    1
}

/// A key in every place of a command line, `@`, and in the environment.
fn arguments(fleet: &Fleet, site: &mut Site) -> usize {
    const LINES: &str = "\
@|--@|serve --store s @|serve --store s --@|serve --store s --key=@|serve --listen @ --store s
serve --store s --answer-timeout @|serve --store s --log @|serve --store s --registry @
serve --store s --rotation-keys @|serve --listen 127.0.0.1:0 --store given/@/@|provision --count @ --out o
provision --count 1 --out given/@/@|provision --count 1 --out o --flash-base @|provision --count 1 --out o --fleet @
provision --count 1 --out o --flash-base 0 --page-size @|provision --ids @ --out o|provision --key @|send @
send --store @ ID 00|send --store store @ 00|send --store store ID 00 @|send --store store ID 00 --expires @
send --store store ID 00 --key @|rotate --store store ID @|rotate --store store ID --rotation-keys @
rotate --store store @|rotate --store @ ID|rotate --store store --key=@ ID|revoke --store store @|revoke --store @ ID
revoke --store store ID @|quarantine --store store @|readmit --store store @|devices --store @|devices @
devices --store store @|backup --store @ --to b|backup --store store --to given/@/@|backup --store store @
restore --store store --from @|restore --store @ --from backup1|restore --store store --from backup1 @
device @|device --state s --server @|device --state @ --server 127.0.0.1:9|device --state s --image @ --server 127.0.0.1:9
device --state state0 --server @|device --state state0 --server 127.0.0.1:@|device --state s --server 127.0.0.1:9 --max-age @
device --state state0 --server 127.0.0.1:9 --key @|inspect @x|inspect --keys @ 00|inspect --rotation-keys @ 00
inspect --key @|demo @|demo --seed @|demo --devices @|demo --seconds @|help @";
    let mut made = 0;
    // As it is, with a digit too few, in the other case, and half of it, as somebody copied it.
    let key = &fleet.device_keys[0];
    for key in [key.clone(), key[1..].to_owned(), key.to_uppercase(), key[..32].to_owned()] {
        for line in LINES.split(['|', '\n']) {
            let line = line.replace('@', &key).replace("ID", &fleet.ids[0]);
            made += refuse(site, &line.split(' ').collect::<Vec<_>>(), "");
        }
        let mut serve = Command::new(PROGRAM);
        serve.args(["serve", "--store", "s"]).env("MOTESEAL_LOG", &key);
        assert!(!site.run_with(&mut serve, "").success());
        made += 1;
    }
    made
}

/// What is wrong in a file of keys.
fn text_files(fleet: &Fleet, site: &mut Site) -> usize {
    let (id, key, other) = (&fleet.ids[0], &fleet.device_keys[0], &fleet.rotation_keys[0]);
    let mut made = 0;
    let heads = ["device_id,generation,device_key", "device_id,rotation_key", "device_id", "fleet_key=", ""];
    let lines = [
        format!("{id},1,{key}0"),
        format!("{id},1,{}", &key[1..]),
        format!("{id},1,{}x", &key[1..]),
        format!("{key},1,{id}"),
        format!("{key},{key}"),
        format!("{id},{key},1"),
        format!("{id},{key},{other}"),
        format!("{id},1,{key},{other}"),
        format!("{id};1;{key}"),
        format!("{id},1,{key}\n{id},1,{other}"),
        format!("{id},{key}\n{id},{other}"),
        format!("{id} 1 {key}"),
        format!("fleet_key={key}\nfleet_key={other}"),
        format!("fleet_key={key}\nrotation_root={key}"),
        format!("fleet_key={key}\n{other}"),
        format!("{key}={other}"),
        format!("\"{id}\",\"1\",\"{key}\""),
        key.clone(),
    ];
    let wrong = heads.iter().flat_map(|head| lines.iter().map(move |line| format!("{head}\n{line}\n")));
    let wrong: Vec<_> = wrong.map(String::into_bytes).collect();
    let binary = [fleet.image(0), "store/store.redb".into(), "store/journal".into()];
    let binary = binary.map(|name| fs::read(site.path(&name)).unwrap());
    for contents in wrong.iter().chain(&binary) {
        let file = site.give("keys", contents);
        for line in [
            "serve --listen 127.0.0.1:0 --store other --registry @",
            "serve --listen 127.0.0.1:0 --store other --rotation-keys @",
            "rotate --store store ID --rotation-keys @",
            "inspect --keys @ 00",
            "inspect --keys fleet/registry.csv --rotation-keys @ 00",
            "provision --ids @ --out o",
            "provision --count 1 --fleet @ --out o",
        ] {
            // No gateway may start: where a file is right for one of them, it is wrong for nobody.
            let line = line.replace('@', &file).replace("ID", id);
            made += refuse(site, &line.split(' ').collect::<Vec<_>>(), "");
        }
    }
    // Known with another key.
    let conflict = format!("{}\n{id},9,{other}\n", heads[0]);
    let file = site.give("conflict", conflict.as_bytes());
    made + refuse(site, &["serve", "--listen", "127.0.0.1:0", "--store", "store", "--registry", &file], "")
}

/// This file, cut short, and with one bit in each of these places turned.
fn damaged(whole: &[u8], places: &[usize]) -> Vec<Vec<u8>> {
    let cut = [0, 1, whole.len() / 2, whole.len() - 1].map(|len| whole[..len].to_vec());
    let turned = places.iter().map(|at| {
        let mut bytes = whole.to_vec();
        bytes[*at] ^= 1;
        bytes
    });
    cut.into_iter().chain(turned).collect()
}

/// Where this key stands.
fn places(bytes: &[u8], key: &str) -> Vec<usize> {
    let key = hex::decode(key).unwrap();
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&key)).collect()
}

fn images(fleet: &Fleet, site: &mut Site) -> usize {
    let image = fs::read(site.path(&fleet.image(0))).unwrap();
    let mut wrong = damaged(&image, &[0, 4, 5, 20, 30, 60, 64, 70, 90, 126]);
    let text =
        ["fleet/registry.csv", "fleet/fleet.secret", &fleet.image(0).replace(".bin", ".hex"), "state0"];
    wrong.extend(text.map(|name| fs::read(site.path(name)).unwrap()));
    let mut made = 0;
    for contents in wrong {
        let file = site.give("image", &contents);
        for state in ["new", "state0"] {
            made +=
                refuse(site, &["device", "--image", &file, "--state", state, "--server", "127.0.0.1:9"], "");
        }
    }
    let other = fleet.image(1);
    made + refuse(site, &["device", "--image", &other, "--state", "state0", "--server", "127.0.0.1:9"], "")
}

/// A device's flash: a damaged slot may leave the other one, and then the device runs.
fn flash(_: &Fleet, site: &mut Site) -> usize {
    let state = fs::read(site.path("state0")).unwrap();
    let mut made = 0;
    for contents in damaged(&state, &[0, 4, 20, 30, 60, 4100, 4130, 8196, 8220, 12_288, 16_384]) {
        let file = site.give("flash", &contents);
        site.run(&["device", "--state", &file, "--server", "127.0.0.1:9"], "");
        made += 1;
    }
    made
}

/// Damage to the store and to its journal; some of it a start repairs.
fn stores(fleet: &Fleet, site: &mut Site) -> usize {
    let whole = ["store.redb", "journal"].map(|name| fs::read(site.path("store").join(name)).unwrap());
    let mut made = 0;
    for (damages, name) in [(0, "store.redb"), (1, "journal")] {
        let mut at = vec![0, 20, 40, 80, whole[damages].len() / 2, whole[damages].len() - 1];
        let keys = fleet.device_keys.iter().flat_map(|key| places(&whole[damages], key));
        at.extend(keys.flat_map(|at| [at - 10, at, at + 31]));
        let mut wrong = damaged(&whole[damages], &at);
        wrong.push(fs::read(site.path("fleet/registry.csv")).unwrap());
        wrong.push(whole[1 - damages].clone());
        for contents in wrong {
            fs::create_dir_all(site.path("given/store")).unwrap();
            for (name, contents) in ["store.redb", "journal"].iter().zip(&whole) {
                site.give(&format!("store/{name}"), contents);
            }
            site.give(&format!("store/{name}"), &contents);
            for line in [
                "backup --store given/store --to given/copy",
                "restore --store given/store --from given/copy",
            ] {
                site.run(&line.split(' ').collect::<Vec<_>>(), "");
            }
            let mut gateway =
                site.start(PROGRAM, &["serve", "--listen", "127.0.0.1:0", "--store", "given/store"]);
            if gateway.has_told("listening") {
                gateway.kill(site);
            } else {
                gateway.end(site);
            }
            fs::remove_dir_all(site.path("given/store")).unwrap();
            let _ = fs::remove_file(site.path("given/copy"));
            made += 3;
        }
    }
    made
}

fn backups(fleet: &Fleet, site: &mut Site) -> usize {
    let backup = fs::read(site.path("backup1")).unwrap();
    let mut wrong = damaged(&backup, &places(&backup, &fleet.device_keys[0]));
    for name in ["store/journal", "fleet/registry.csv", "state0", &fleet.image(0)] {
        wrong.push(fs::read(site.path(name)).unwrap());
    }
    let mut made = 0;
    for contents in wrong {
        let file = site.give("wrong", &contents);
        made += refuse(site, &["restore", "--store", "store", "--from", &file], "");
    }
    // Of another gateway, and of one that is there already.
    assert!(site.run(&["serve", "--listen", "bad", "--store", "other"], "").code() == Some(2));
    made += refuse(site, &["backup", "--store", "store", "--to", "backup1"], "");
    made + refuse(site, &["provision", "--count", "1", "--out", "fleet"], "")
}

/// Lines that a running gateway refuses.
fn requests(fleet: &Fleet, site: &mut Site) -> usize {
    let mut gateway = site.start(PROGRAM, &["serve", "--listen", "127.0.0.1:0", "--store", "store"]);
    gateway.expect("listening", 1);
    let (id, unknown) = (&fleet.ids[0], "0000000000000000");
    let mut made = 0;
    for key in [&fleet.device_keys[0], &fleet.rotation_keys[0], &fleet.rotation_keys[0][..40]] {
        for line in [
            key,
            &format!("{key} {key}"),
            &format!("rotate {key}"),
            &format!("rotate {key} {id}"),
            &format!("rotate {id} {key}0"),
            &format!("rotate {id} {key} {key}"),
            &format!("rotate {id} --rotation-keys {key}"),
            &format!("rotate {unknown} {key}"),
            &format!("rotate {id},{key}"),
            &format!("revoke {key}"),
            &format!("quarantine {id} {key}"),
            &format!("readmit {key}"),
            &format!("send {key} 00"),
            &format!("send {id} {key}0"),
            &format!("send {id} 00 {key}"),
            &format!("send {id} 00 --expires {key}"),
            &format!("send {id} 00 --key={key}"),
            &format!("send {unknown} {key}"),
            &format!("devices {key}"),
            &format!("backup /nowhere/{key}"),
            &format!("backup {key}/{key}"),
        ] {
            gateway.say(line);
            made += 1;
            gateway.expect("refused", made);
        }
    }
    gateway.stop(site);
    made
}

/// Lines that a device refuses, and datagrams that are none.
fn payloads(fleet: &Fleet, site: &mut Site) -> usize {
    let key = &fleet.device_keys[0];
    let mut device: Running =
        site.start(PROGRAM, &["device", "--state", "state0", "--server", "127.0.0.1:9"]);
    device.expect("started", 1);
    for (number, line) in
        [format!("hex:{key}0"), format!("hex:{key}xx"), format!("hex:0x{key}")].iter().enumerate()
    {
        device.say(line);
        device.expect("refused", number + 1);
    }
    device.kill(site);
    let lines = format!("{key}0\n{key} {id}x\nxx{key}\n", id = fleet.ids[0]);
    3 + refuse(site, &["inspect"], &lines)
        + refuse(site, &["inspect", "--keys", "fleet/registry.csv"], &lines)
}
