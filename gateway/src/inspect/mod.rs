//! `moteseal inspect`: says what datagrams are, and with device keys what they say. Reads captures that may
//! hold anything; changes nothing and sends nothing. SPEC section 4.

mod fields;
mod opener;

use std::fmt::Write as _;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use moteseal::wire::Unverified;

use crate::registry;
use opener::Opener;

const HELP: &str = "\
Without keys it shows the type and every field that travels in the clear. With --keys it also opens
what it can, in order: a Hello by its device key; a Welcome or a Floor by the Hello before it; Data
and Resets of either direction by the Welcome before them. So give whole exchanges, oldest first.
The secret in a rotate message is never shown.

Blanks and colons between the digits, and 0x before them, are skipped. On stdin `#` begins a comment.

Exit status: 0 if every datagram is one, and with --keys was opened; 1 otherwise.

Examples:
  moteseal inspect 440242acfffe110001000000010000319e8c916b29f5b7f5e1dcc3413c3e3783912284c24e
  moteseal inspect --keys fleet/registry.csv < exchange.txt";

/// Options.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Datagrams as hexadecimal digits, oldest first; without any they are read from stdin, one a line.
    #[arg(value_name = "HEX")]
    datagrams: Vec<String>,
    /// Device keys, as `moteseal provision` writes them: a registry.csv.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Rotation keys, to open also what comes after a rotate message: a rotation-keys.csv.
    #[arg(long, value_name = "FILE", requires = "keys")]
    rotation_keys: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<ExitCode, String> {
    let mut inspector = Inspector::new(args.keys.as_deref(), args.rotation_keys.as_deref())?;
    if args.datagrams.is_empty() {
        for line in io::stdin().lock().lines() {
            let line = line.map_err(|error| format!("stdin: {error}"))?;
            let digits = line.split('#').next().unwrap_or_default().trim();
            if !digits.is_empty() {
                inspector.print(digits)?;
            }
        }
    } else {
        args.datagrams.iter().try_for_each(|digits| inspector.print(digits))?;
    }
    inspector.finish()
}

fn opener(keys: Option<&Path>, rotation_keys: Option<&Path>) -> Result<Option<Opener>, String> {
    let Some(keys) = keys else { return Ok(None) };
    let rotation_keys = rotation_keys.map(registry::read_rotation_keys).transpose()?;
    Ok(Some(Opener::new(registry::read(keys)?, rotation_keys.unwrap_or_default())))
}

/// Looks at datagrams one after the other, and counts those that cannot be read or opened.
pub struct Inspector {
    opener: Option<Opener>,
    seen: usize,
    failed: usize,
}

impl Inspector {
    /// With the keys of these files, if there are any.
    pub fn new(keys: Option<&Path>, rotation_keys: Option<&Path>) -> Result<Self, String> {
        Ok(Self { opener: opener(keys, rotation_keys)?, seen: 0, failed: 0 })
    }

    /// What one datagram is.
    pub fn describe(&mut self, digits: &str) -> String {
        self.seen += 1;
        let (title, fields, good) = describe(digits, self.opener.as_mut());
        self.failed += usize::from(!good);
        let mut text = format!("{}: {title}\n", self.seen);
        for (name, value) in fields {
            // Writing to a string does not fail.
            let _ = writeln!(text, "   {name:<15}{value}");
        }
        text
    }

    fn print(&mut self, digits: &str) -> Result<(), String> {
        let text = self.describe(digits);
        io::stdout().write_all(text.as_bytes()).map_err(|error| format!("stdout: {error}"))
    }

    /// The exit status.
    pub fn finish(self) -> Result<ExitCode, String> {
        match (self.seen, self.failed) {
            (0, _) => {
                Err("no datagram was given; give its hexadecimal digits as an argument or on stdin".into())
            }
            (_, 0) => Ok(ExitCode::SUCCESS),
            (seen, failed) => Err(format!("{failed} of {seen} could not be read or opened")),
        }
    }
}

/// A title, the fields, and whether the datagram is one and was opened if that was asked for.
fn describe(digits: &str, opener: Option<&mut Opener>) -> (String, Vec<fields::Field>, bool) {
    let Ok(mut datagram) = hex::decode(without_blanks(digits)) else {
        return ("not hexadecimal digits, two a byte".into(), Vec::new(), false);
    };
    let len = datagram.len();
    let unverified = match Unverified::parse(&mut datagram) {
        Ok(unverified) => unverified,
        Err(error) => {
            let title = format!("not a datagram of Moteseal/1, {len} bytes: {error}");
            return (title, Vec::new(), false);
        }
    };
    let title = format!("{}, {len} bytes", fields::type_name(&unverified.header));
    let mut fields = fields::in_the_clear(&unverified);
    let result = opener.map(|opener| opener.open(&unverified));
    let good = !matches!(result, Some(Err(_)));
    match result {
        None => {}
        Some(Ok(inside)) => fields.extend(fields::inside(&inside)),
        Some(Err(reason)) => fields.push(("not opened", reason.to_string())),
    }
    (title, fields, good)
}

fn without_blanks(digits: &str) -> String {
    let digits = digits.trim();
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")).unwrap_or(digits);
    digits.chars().filter(|digit| !digit.is_whitespace() && *digit != ':').collect()
}
