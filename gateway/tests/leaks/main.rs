//! What keys leave behind outside of the files that are made to hold them. The real program lives a fleet's life and makes
//! every mistake that we know of, with keys that nobody has seen before; then all that it let out is searched for them:
//! standard output and error at the most talkative level, events, datagrams, the command lines and environments of its
//! processes, and every file. Files that hold keys must be for their owner alone, whatever the umask is.
#![cfg(target_os = "linux")]

mod faults;
mod life;
mod relay;
mod search;
mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use life::Fleet;
use search::Search;
use site::Site;

#[test]
fn a_fleet_lives_and_no_key_comes_out() {
    let mut site = Site::new();
    let mut search = Search::default();
    let fleet = Fleet::provision(&mut site, &mut search);
    fleet.live(&mut site, &mut search);
    assert!(site.said.len() > 30, "{} outputs", site.said.len());
    assert_eq!(search.faults(&site), [""; 0]);
    // Nothing was found where it is not looked for: keys are in these files.
    for name in
        ["registry.csv", "rotation-keys.csv", "fleet.secret", "store.redb", "journal", "images", "state"]
    {
        assert!(search.holders(&site).iter().any(|path| path.contains(name)), "{name} holds no key");
    }
}

#[test]
fn no_mistake_brings_a_key_out() {
    let mut site = Site::new();
    let mut search = Search::default();
    let fleet = Fleet::provision(&mut site, &mut search);
    fleet.live(&mut site, &mut search);
    let before = site.said.len();
    let mistakes = faults::make_all(&fleet, &mut site);
    assert!(mistakes > 1_000 && site.said.len() - before > mistakes, "{mistakes} mistakes");
    assert_eq!(search.faults(&site), [""; 0]);
}

/// The control: other programs, which do let keys out.
#[test]
fn what_lets_a_key_out_is_seen() {
    let mut site = Site::new();
    let mut search = Search::default();
    Fleet::provision(&mut site, &mut search);
    assert_eq!(search.faults(&site), [""; 0]);
    let image = "$(ls fleet/images/*.bin | head -n 1)";
    let key = "$(tail -n 1 fleet/registry.csv | cut -d , -f 3)";
    for script in [
        format!("cat {image}"),
        format!("cat {image} >&2"),
        format!("base64 -w 0 {image}"),
        format!("(echo -n 1; cat {image}) | base64"),
        format!("(echo -n 12; cat {image}) | base64 | tr +/ -_"),
        format!("od -v -An -t u1 {image}"),
        format!("od -v -An -t x1 {image}"),
        format!("echo {key}"),
        format!("echo {key} | tr a-f A-F"),
        format!("echo {key} | cut -c 20-60"),
    ] {
        site.shell(&script);
        let faults = search.faults(&site);
        site.said.clear();
        assert!(
            !faults.is_empty() && faults.iter().all(|fault| fault.contains(" of ")),
            "{script}: {faults:?}"
        );
    }

    let text = fs::read_to_string(site.path("fleet/registry.csv")).unwrap();
    let key = text.trim().rsplit(',').next().unwrap();
    let mut argument = site.start("sh", &["-c", "read line", key]);
    site.look_at(&argument);
    argument.kill(&mut site);
    let faults = search.faults(&site);
    assert!(faults.len() == 1 && faults[0].contains("cmdline"), "{faults:?}");
    site.said.clear();

    // Keys in a file that is not made for them, and in one that others can read.
    fs::write(site.path("core.1"), key).unwrap();
    assert!(search.faults(&site)[0].contains("core.1"));
    fs::remove_file(site.path("core.1")).unwrap();
    for (path, mode) in [("fleet/registry.csv", 0o640), ("fleet", 0o711)] {
        let whole = fs::metadata(site.path(path)).unwrap().permissions();
        fs::set_permissions(site.path(path), fs::Permissions::from_mode(mode)).unwrap();
        assert!(!search.faults(&site).is_empty(), "{path} is open");
        fs::set_permissions(site.path(path), whole).unwrap();
    }
    assert_eq!(search.faults(&site), [""; 0]);
}
