//! The keys of a fleet, and whether they are where they must not be.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use moteseal_sim::leaks::Secrets;

use crate::site::{GIVEN, Site};

/// What is looked for.
#[derive(Default)]
pub struct Search {
    secrets: Secrets,
    pub keys: usize,
}

impl Search {
    pub fn add(&mut self, name: &str, key: &[u8]) {
        self.secrets.add(name, key);
        self.keys += 1;
    }

    /// Every key that a text file of keys holds.
    pub fn learn(&mut self, path: &Path) {
        let text = fs::read_to_string(path).unwrap();
        let words = text.split(|c: char| !c.is_ascii_hexdigit()).filter(|word| word.len() == 64);
        for (number, key) in words.enumerate() {
            self.add(&format!("key {number} of {}", path.display()), &hex::decode(key).unwrap());
        }
    }

    /// Each place where a key is that must not be there.
    pub fn faults(&self, site: &Site) -> Vec<String> {
        let mut faults = Vec::new();
        for (what, bytes) in &site.said {
            faults.extend(self.secrets.found_in(bytes).iter().map(|name| format!("{name} in {what}")));
        }
        for path in files(&site.path("")) {
            let found = self.secrets.found_in(&fs::read(&path).unwrap_or_default());
            let (shown, is_meant) = (path.display(), is_made_to_hold_keys(&path));
            if is_meant || !found.is_empty() {
                faults.extend(open_to_others(site, &path));
            }
            if !is_meant {
                faults.extend(found.first().map(|name| format!("{name} in the file {shown}")));
            }
        }
        faults
    }

    /// The files that hold keys.
    pub fn holders(&self, site: &Site) -> Vec<String> {
        let all = files(&site.path("")).into_iter();
        let holders = all.filter(|path| !self.secrets.found_in(&fs::read(path).unwrap()).is_empty());
        holders.map(|path| path.display().to_string()).collect()
    }
}

/// Everything below but what the test made itself.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() && !path.ends_with(GIVEN) {
            files.extend(self::files(&path));
        } else if kind.is_file() {
            files.push(path);
        }
    }
    files
}

/// As `--help` of the commands names them.
fn is_made_to_hold_keys(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    let is_image = path.parent().unwrap().ends_with("images");
    is_image
        || ["registry.csv", "rotation-keys.csv", "fleet.secret", "store.redb", "journal"].contains(&name)
        || name.starts_with("state")
        || name.starts_with("backup")
}

/// The file and each directory of the program's around it, where others can open or enter it.
fn open_to_others(site: &Site, path: &Path) -> Vec<String> {
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let is_made = |path: &&Path| **path != site.path("") && path.starts_with(site.path(""));
    let around = path.ancestors().skip(1).take_while(is_made).map(|path| (path, 0o700));
    let all = std::iter::once((path, 0o600)).chain(around);
    all.filter(|(path, meant)| mode(path) != *meant)
        .map(|(path, _)| format!("{} has mode {:o}", path.display(), mode(path)))
        .collect()
}
