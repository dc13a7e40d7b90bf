//! Programs in C against the static library: the header in each language that it is for, its sketch, what C programs get
//! wrong, and a device over UDP with the crate's server half.
//!
//! `MOTESEAL_SANITIZE=1` builds programs and library under the address sanitizer, and the programs under that of undefined
//! behaviour as well. (That flag of the Rust compiler is not stable; `RUSTC_BOOTSTRAP` is set for it, here only.)

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs};

use moteseal_capi::sizes::FLASH_PAGE;

#[expect(dead_code, reason = "a restart and a rotation are for the tests in Rust")]
#[path = "../interface/site.rs"]
mod site;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

fn sanitized() -> bool {
    env::var_os("MOTESEAL_SANITIZE").is_some()
}

/// The static library, built once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("library");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["rustc", "--quiet", "--package", "moteseal-capi", "--lib", "--crate-type", "staticlib"]);
        cargo.args(["--profile", "firmware", "--target-dir"]).arg(&target).current_dir(root());
        if !sanitized() {
            run(&mut cargo);
            return target.join("firmware/libmoteseal_capi.a");
        }
        let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zsanitizer=address");
        run(cargo.args(["--target", &triple]));
        target.join(triple).join("firmware/libmoteseal_capi.a")
    })
}

/// A C compiler with every warning an error.
fn compiler(program: &str, language: &str) -> Command {
    let mut cc = Command::new(program);
    cc.args([language, "-g", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror", "-I"]);
    cc.arg(root().join("include"));
    if sanitized() {
        cc.args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]);
    }
    cc
}

fn build(source: &str) -> PathBuf {
    let source = root().join(source);
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(source.file_stem().unwrap());
    let mut cc = compiler("cc", "-std=c99");
    run(cc.arg(&source).arg(library()).arg("-o").arg(&program));
    program
}

/// A flash file from the factory, and the site that knows the device.
fn flash_file(name: &str) -> (PathBuf, site::Site) {
    let (flash, site) = site::provision(FLASH_PAGE as usize);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, flash).unwrap();
    (path, site)
}

fn compile(program: &str, language: &str, source: &Path) {
    run(compiler(program, language).args(["-c", "-o", "/dev/null"]).arg(source));
}

#[test]
fn the_header_compiles_alone_in_each_language() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let body = "#include \"moteseal.h\"\n#include \"moteseal.h\"\nstatic moteseal_device device = MOTESEAL_DEVICE_INIT;\n\
        moteseal_error boot(void);\n\
        moteseal_error boot(void) {\n    moteseal_config config = MOTESEAL_CONFIG_INIT;\n    return moteseal_boot(&device, &config);\n}\n";
    for (extension, program, languages) in [
        ("c", "cc", ["-std=c99", "-std=c11", "-std=gnu17"]),
        ("cpp", "c++", ["-std=c++11", "-std=c++17", "-std=c++20"]),
    ] {
        let source = directory.join(format!("alone.{extension}"));
        fs::write(&source, body).unwrap();
        for language in languages {
            compile(program, language, &source);
        }
    }
}

#[test]
fn wrong_sizes_do_not_compile() {
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sizes.c");
    fs::write(&source, "#include \"moteseal.h\"\nint unused;\n").unwrap();
    for (define, compiles) in [
        ("-DMOTESEAL_DATAGRAM_MAX=38", true),
        ("-DMOTESEAL_DATAGRAM_MAX=37", false),
        ("-DMOTESEAL_DATAGRAM_MAX=65536", false),
        ("-DMOTESEAL_FLASH_PAGE=100", false),
        ("-DMOTESEAL_FLASH_PAGE=0", false),
        ("-DMOTESEAL_FLASH_WORD=4", false),
        ("-DMOTESEAL_FLASH_WORD=32", true),
    ] {
        let mut cc = compiler("cc", "-std=c99");
        let status = cc.args([define, "-c", "-o", "/dev/null"]).arg(&source).stderr(Stdio::null()).status();
        assert_eq!(status.unwrap().success(), compiles, "{define}");
    }
}

#[test]
fn the_sketch_in_the_header_compiles() {
    let header = fs::read_to_string(root().join("include/moteseal.h")).unwrap();
    let (_, sketch) = header.split_once("// A whole device:\n//\n").unwrap();
    let lines = sketch.lines().take_while(|line| line.starts_with("//"));
    let sketch: String = lines.map(|line| line.trim_start_matches("//").to_owned() + "\n").collect();
    assert!(sketch.contains("moteseal_boot") && sketch.contains("void run(void)"));
    for (extension, program, language) in [("c", "cc", "-std=c99"), ("cpp", "c++", "-std=c++11")] {
        let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sketch.{extension}"));
        fs::write(&source, &sketch).unwrap();
        compile(program, language, &source);
    }
}

/// Sanitizers arrange stacks in their own way.
#[test]
fn no_whole_key_is_left_on_the_stack() {
    if !sanitized() {
        let (flash, _) = flash_file("stack.flash");
        run(Command::new(build("tests/programs/stack.c")).arg(&flash));
    }
}

/// A program may have another library in Rust, with a standard library of its own.
#[test]
fn another_library_in_rust_may_be_linked_beside() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (source, other) = (directory.join("other.rs"), directory.join("libother.a"));
    let rust =
        "#[unsafe(no_mangle)]\npub extern \"C\" fn other(n: usize) -> usize { vec![n; n].iter().sum() }\n";
    fs::write(&source, rust).unwrap();
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=staticlib", "-Cpanic=abort", "-Clto", "-o"]);
    run(rustc.arg(&other).arg(&source));
    let (source, program) = (directory.join("two.c"), directory.join("two"));
    let c = "#include \"moteseal.h\"\nsize_t other(size_t n);\nint main(void) {\n\
        return !(other(5) == 25 && moteseal_wipe(NULL) == MOTESEAL_NULL_POINTER);\n}\n";
    fs::write(&source, c).unwrap();
    for libraries in [[library(), &other], [&other, library()]] {
        let mut cc = compiler("cc", "-std=c99");
        run(cc.arg(&source).args(libraries).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program));
        run(&mut Command::new(&program));
    }
}

#[test]
fn what_a_c_program_gets_wrong_is_an_error() {
    let (flash, _) = flash_file("misuse.flash");
    let program = build("tests/programs/misuse.c");
    run(Command::new(&program).arg(&flash));
    if sanitized() {
        // The sanitizer must see what the library reads: here a buffer that is shorter than said.
        let lie = Command::new(&program).arg(&flash).arg("lie").output().unwrap();
        let report = String::from_utf8_lossy(&lie.stderr);
        assert!(report.contains("heap-buffer-overflow") && report.contains("moteseal_receive"), "{report}");
    }
}

#[test]
fn a_device_over_udp_sends_telemetry_and_takes_commands() {
    let program = build("examples/udp_device.c");
    let (flash, mut site) = flash_file("udp.flash");
    for boot in 1..=2 {
        let lines = serve(&mut site, &program, &flash, boot);
        let text = lines.join("\n");
        assert_eq!(lines[0], format!("device {} boot {boot}", site::ID));
        assert!(text.contains(&format!("session {boot}.0")) && text.contains("command open"), "{text}");
        let outcomes = lines.iter().filter(|line| line.starts_with("acknowledged ")).count();
        assert_eq!((outcomes, lines.last().map(String::as_str)), (3, Some("closed")), "{text}");
        assert_eq!((site.payloads.len(), site.closed), (3 * boot, boot));
        assert_eq!(site.commands.get(&(boot as u64)), Some(&"acknowledged"));
    }
    assert_eq!(site.payloads[..3], ["20.5 C", "21.5 C", "22.5 C"]);
}

/// Runs the device for three payloads. After the first a command goes to it. Gives what it printed.
fn serve(site: &mut site::Site, program: &Path, flash: &Path, boot: usize) -> Vec<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let port = socket.local_addr().unwrap().port().to_string();
    let arguments = [flash.as_os_str(), OsStr::new("127.0.0.1"), OsStr::new(&port), OsStr::new("3")];
    let mut device = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let (start, mut buffer, mut commanded) = (Instant::now(), [0; 1500], false);
    while site.closed < boot {
        assert!(start.elapsed() < Duration::from_secs(30), "the device does not come to its end");
        let Ok((len, from)) = socket.recv_from(&mut buffer) else { continue };
        let now = 1_000_000 * boot as u64 + u64::try_from(start.elapsed().as_millis()).unwrap();
        for answer in site.receive(now, &buffer[..len]) {
            socket.send_to(&answer, from).unwrap();
        }
        // The first Data confirms the session; from then on it takes commands.
        if !commanded && site.payloads.len() > 3 * (boot - 1) + 1 {
            commanded = true;
            socket.send_to(&site.command(now, boot as u64, b"open"), from).unwrap();
        }
    }
    assert!(device.wait().unwrap().success());
    BufReader::new(device.stdout.take().unwrap()).lines().map(Result::unwrap).collect()
}
