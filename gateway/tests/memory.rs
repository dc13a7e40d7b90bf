//! The memory of the program, in which keys are, is closed to others: no core dump, no tracer, whatever the limits were before;
//! and what it writes is for its owner alone, whatever the umask is.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_moteseal");
/// A user without any privilege, where the tests are run by root.
const NOBODY: u32 = 65_534;

/// A fleet of one device, and a directory in which cores may be dumped.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let mut provision = Command::new(PROGRAM);
        provision.args(["provision", "--count", "1", "--out", "fleet"]).current_dir(site.path());
        assert!(provision.output().unwrap().status.success());
        site
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What a shell starts after `before`, in its own place: the same process.
    fn shell(&self, before: &str, program: &str) -> Command {
        let mut command = Command::new("sh");
        // Signals that whoever started the tests ignores would be ignored here too.
        command
            .arg("-c")
            .arg(format!("{before}; exec env --default-signal {program}"))
            .current_dir(self.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }

    fn image(&self) -> String {
        let images = fs::read_dir(self.path().join("fleet/images")).unwrap();
        let mut paths = images.map(|entry| entry.unwrap().path());
        // Where the flash's address was given, there is an Intel HEX file beside each.
        let image = paths.find(|path| path.extension().is_some_and(|ending| ending == "bin")).unwrap();
        image.display().to_string()
    }

    /// Every command that holds keys while it waits.
    fn commands(&self) -> [String; 3] {
        [
            format!("{PROGRAM} serve --listen 127.0.0.1:0 --store store --registry fleet/registry.csv"),
            format!("{PROGRAM} device --image {} --state state --server 127.0.0.1:9 --connect", self.image()),
            format!("{PROGRAM} inspect --keys fleet/registry.csv --rotation-keys fleet/rotation-keys.csv"),
        ]
    }
}

/// A process that does not outlive its test, even one that fails.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Mostly it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The field of `/proc/PID/status` or a line of `limits` that begins so.
fn line(child: &Running, file: &str, begin: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/{file}", child.0.id())).unwrap_or_default();
    text.lines().find(|line| line.starts_with(begin)).unwrap_or_default().to_owned()
}

/// Waits until the program has closed its memory, which is the first thing it does.
fn closed(child: &Running) -> bool {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        let limit = line(child, "limits", "Max core file size");
        let is_none = !limit.is_empty() && limit.split_whitespace().skip(4).take(2).all(|value| value == "0");
        if is_none {
            // It has the time to read its keys, and waits then.
            thread::sleep(Duration::from_millis(200));
            if line(child, "status", "State").contains("S (sleeping)") {
                return true;
            }
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Ends it by this signal. The first SIGSEGV goes to the runtime of Rust, which looks for the end of a stack, finds none, and
/// leaves the next one to the kernel.
fn end(mut child: Running, signal: Signal) -> ExitStatus {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < patience, "it outlives {signal:?}");
        kill_process(Pid::from_child(&child.0), signal).unwrap();
        thread::sleep(Duration::from_millis(50));
        if let Some(status) = child.0.try_wait().unwrap() {
            return status;
        }
    }
}

fn cores(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("core")).collect()
}

#[test]
fn no_core_is_dumped_by_any_command_that_holds_keys() {
    let site = Site::new();
    // The control: where cores are dumped at all, the same way of starting brings one.
    let child = Running::start(site.shell("ulimit -c unlimited 2>/dev/null", "sleep 60"));
    thread::sleep(Duration::from_millis(300));
    let dumps = end(child, Signal::SEGV).core_dumped();
    eprintln!("a program that does not close its memory dumps a core here: {dumps}");
    for core in cores(site.path()) {
        fs::remove_file(core).unwrap();
    }
    for command in site.commands() {
        for signal in [Signal::SEGV, Signal::ABORT, Signal::QUIT] {
            let child = Running::start(site.shell("ulimit -c unlimited 2>/dev/null", &command));
            assert!(closed(&child), "{command}: {}", line(&child, "limits", "Max core"));
            let status = end(child, signal);
            assert_eq!(status.signal(), Some(signal.as_raw()), "{command}");
            assert!(!status.core_dumped(), "{command}: a core was dumped");
            assert_eq!(cores(site.path()), [] as [PathBuf; 0], "{command}");
        }
    }
}

/// A command that another process of the same user runs.
fn as_user(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Whether the same user may look into a process: its environment, which takes the right to read, and its memory, which takes
/// the right to trace.
fn may_look(child: &Running) -> [bool; 2] {
    let maps = format!("/proc/{}/maps", child.0.id());
    let environ = format!("/proc/{}/environ", child.0.id());
    let memory = format!("exec 3< /proc/{}/mem", child.0.id());
    let reads = |path: &str| as_user("cat", &[path]).output().unwrap().status.success();
    [reads(&environ) || reads(&maps), as_user("sh", &["-c", &memory]).output().unwrap().status.success()]
}

#[test]
fn no_process_of_the_same_user_can_read_its_memory() {
    let site = Site::new();
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(site.path(), fs::Permissions::from_mode(0o755)).unwrap();
        give(&site.path().join("fleet"));
        fs::create_dir(site.path().join("run")).unwrap();
        give(&site.path().join("run"));
    }
    // A program that others may run: the directory of the build may be closed.
    let program = site.path().join("moteseal");
    fs::copy(PROGRAM, &program).unwrap();
    let (store, registry) = (site.path().join("run/store"), site.path().join("fleet/registry.csv"));
    let args = ["serve", "--listen", "127.0.0.1:0", "--store"];
    let mut serve = as_user(program.to_str().unwrap(), &args);
    serve.arg(&store).arg("--registry").arg(&registry);
    fs::create_dir_all(site.path().join("run")).unwrap();
    let gateway = Running::start(serve);
    assert!(closed(&gateway), "it does not run");
    let other = Running::start(as_user("sleep", &["60"]));
    thread::sleep(Duration::from_millis(200));
    let (gateways, others) = (may_look(&gateway), may_look(&other));
    end(gateway, Signal::KILL);
    end(other, Signal::KILL);
    assert!(others[0], "the control: a process that is not closed can be read by its user");
    eprintln!("the same user may trace a process that is not closed here: {}", others[1]);
    assert_eq!(gateways, [false, false], "its environment or its memory can be read");
}

fn give(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path());
        }
    }
}

/// Everything below a directory that others may read or enter.
fn open_to_others(directory: &Path, found: &mut Vec<(PathBuf, u32)>) -> usize {
    let mut seen = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        seen += 1;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            found.push((path.clone(), mode));
        }
        if metadata.is_dir() {
            seen += open_to_others(&path, found);
        }
    }
    seen
}

#[test]
fn under_no_umask_everything_is_still_for_its_owner_alone() {
    let site = Site::new();
    fs::remove_dir_all(site.path().join("fleet")).unwrap();
    let run = |program: &str| {
        let output = site.shell("umask 000", program).output().unwrap();
        assert!(output.status.success(), "{program}: {output:?}");
    };
    // The control: it is no umask that keeps others out.
    run("touch open-to-all");
    let mode = fs::metadata(site.path().join("open-to-all")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    fs::remove_file(site.path().join("open-to-all")).unwrap();
    run(&format!("{PROGRAM} provision --count 2 --out fleet --flash-base 0 --page-size 4096"));
    let serve = format!("{PROGRAM} serve --listen 127.0.0.1:0 --store store --registry fleet/registry.csv");
    let gateway = Running::start(site.shell("umask 000", &serve));
    assert!(closed(&gateway));
    run(&format!("{PROGRAM} backup --store store --to copy"));
    let device = format!("{PROGRAM} device --image {} --state state --server 127.0.0.1:9", site.image());
    let mut device = Running::start(site.shell("umask 000", &device));
    assert!(closed(&device));
    device.0.stdin.take().unwrap().write_all(b"hex:00\n").unwrap();
    thread::sleep(Duration::from_millis(200));
    let mut found = Vec::new();
    let seen = open_to_others(site.path(), &mut found);
    end(device, Signal::KILL);
    end(gateway, Signal::KILL);
    assert!(seen > 12, "{seen} files: not everything was made");
    assert_eq!(found, []);
}
