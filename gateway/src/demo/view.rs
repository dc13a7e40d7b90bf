//! What is shown: a picture that is drawn anew on a terminal, lines elsewhere, and the table at the end.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::fleet::Sight;
use super::promise::{Broken, Promise};
use super::tally::{Fault, Tally};
use super::totals::{Column, Totals, mean};

/// How often a terminal is drawn, and how often a line is written elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const BETWEEN_LINES: Duration = Duration::from_secs(2);
/// How many of the last happenings a terminal shows: the picture fits 24 lines of 80 columns.
const HAPPENINGS: usize = 6;
const COLUMNS: usize = 79;
/// So many devices have a symbol each; more are only counted.
const SYMBOLS: usize = 64;

/// The head and the rows of the table that a terminal shows all the time.
const LIVE_ROWS: [&str; 5] = ["     ", "sent", "acknowledged", "unknown", "delivered"];

/// Everything that there is to show.
pub struct Picture {
    /// What goes on.
    pub phase: &'static str,
    /// Payloads.
    pub totals: Totals,
    /// Faults.
    pub tally: Arc<Tally>,
    /// Devices.
    pub sights: Vec<Sight>,
    /// Rotations that were finished.
    pub finished_rotations: usize,
    /// Datagrams that the gateway dropped.
    pub rejected: u64,
    /// Promises that were broken.
    pub broken: Vec<Broken>,
}

/// Shows pictures.
pub struct View {
    start: Instant,
    terminal: bool,
    last: Option<Instant>,
    lines_above: usize,
    happenings: VecDeque<String>,
}

impl View {
    /// A view for whatever stdout is.
    pub fn new(start: Instant) -> Self {
        Self::on(start, io::stdout().is_terminal())
    }

    const fn on(start: Instant, terminal: bool) -> Self {
        Self { start, terminal, last: None, lines_above: 0, happenings: VecDeque::new() }
    }

    /// Something happened that is worth a line.
    pub fn happened(&mut self, what: &str) {
        let line = format!("{}  {what}", self.clock());
        if !self.terminal {
            return print(&format!("{line}\n"));
        }
        if self.happenings.len() == HAPPENINGS {
            self.happenings.pop_front();
        }
        self.happenings.push_back(line);
    }

    /// Whether it is time for another picture.
    pub fn is_due(&self) -> bool {
        let between = if self.terminal { REDRAW } else { BETWEEN_LINES };
        self.last.is_none_or(|last| last.elapsed() >= between)
    }

    /// Draws a picture.
    pub fn draw(&mut self, picture: &Picture) {
        self.last = Some(Instant::now());
        let text = if self.terminal { self.redrawn(picture) } else { self.line(picture) };
        print(&text);
    }

    fn clock(&self) -> String {
        format!("{:5.1} s", self.start.elapsed().as_secs_f64())
    }

    /// One line of progress.
    fn line(&self, picture: &Picture) -> String {
        let Totals { telemetry, commands, .. } = picture.totals;
        let Picture { phase, sights, broken, .. } = picture;
        let in_session = sights.iter().filter(|sight| sight.in_session).count();
        format!(
            "{}  {phase}: {in_session} of {} devices in session, telemetry sent {} delivered {}, commands sent {} \
             delivered {}, promises broken {}\n",
            self.clock(),
            sights.len(),
            telemetry.sent,
            telemetry.delivered,
            commands.sent,
            commands.delivered,
            broken.len(),
        )
    }

    /// The picture, over the one before.
    fn redrawn(&mut self, picture: &Picture) -> String {
        let mut text = match self.lines_above {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        let lines = self.screen(picture);
        self.lines_above = lines.len();
        for line in lines {
            let _ = writeln!(text, "{}", line.chars().take(COLUMNS).collect::<String>());
        }
        text
    }

    fn screen(&self, picture: &Picture) -> Vec<String> {
        let mut lines = vec![
            format!("moteseal demo {}  {}", self.clock(), picture.phase),
            devices_row(&picture.sights),
            String::new(),
        ];
        let is_live = |row: &String| LIVE_ROWS.iter().any(|label| row.starts_with(label));
        lines.extend(payload_rows(&picture.totals).into_iter().filter(is_live));
        lines.push(String::new());
        lines.extend(wrapped(&fault_cells(picture)));
        lines.push(String::new());
        lines.push(match picture.broken.last() {
            None => "promises broken 0".to_owned(),
            Some(last) => format!("promises broken {}, the last: {last}", picture.broken.len()),
        });
        lines.push(String::new());
        lines.extend(self.happenings.iter().cloned());
        lines
    }
}

/// The table at the end.
pub fn table(picture: &Picture) -> String {
    let mut lines = vec![String::new()];
    lines.extend(payload_rows(&picture.totals));
    lines.push("\nwhat was thrown at it".to_owned());
    let cells: Vec<_> =
        fault_cells(picture).iter().map(|(label, count)| format!("{label:24}{count:>6}")).collect();
    lines.extend(cells.chunks(2).map(|row| format!("  {}", row.join("    "))));
    lines.push("\nwhat must never be".to_owned());
    let times = |promise: Promise| picture.broken.iter().filter(|broken| broken.promise == promise).count();
    lines.extend(Promise::ALL.map(|promise| format!("  {:34}{:>6}", promise.breach(), times(promise))));
    lines.push("\nwhat it cost".to_owned());
    lines.extend(cost_rows(picture));
    lines.push(String::new());
    lines.join("\n")
}

/// Writes to stdout. One that is closed is not a reason to stop: the exit status tells the outcome.
pub fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn devices_row(sights: &[Sight]) -> String {
    let symbol = |sight: &Sight| match (sight.on, sight.in_session) {
        (true, true) => '#',
        (true, false) => '+',
        (false, _) => '.',
    };
    let symbols: String = sights.iter().map(symbol).collect();
    if sights.len() <= SYMBOLS {
        return format!("devices  {symbols}");
    }
    let count = |wanted: char| symbols.chars().filter(|symbol| *symbol == wanted).count();
    format!("devices  {} in session, {} without one, {} off", count('#'), count('+'), count('.'))
}

/// Two columns; what is indented is a part of what stands above.
fn payload_rows(totals: &Totals) -> Vec<String> {
    let Totals { telemetry, commands, lines_lost, requeued, .. } = totals;
    let cell = |value: Option<usize>| value.map_or(String::new(), |value| value.to_string());
    let mut rows = vec![format!("{:36}{:>10}{:>10}", "", "telemetry", "commands")];
    let mut row = |label: &str, telemetry: Option<usize>, commands: Option<usize>| {
        rows.push(format!("{label:36}{:>10}{:>10}", cell(telemetry), cell(commands)));
    };
    let mut both = |label: &str, value: fn(&Column) -> usize| {
        row(label, Some(value(telemetry)), Some(value(commands)));
    };
    both("sent", |column| column.sent);
    both("acknowledged", |column| column.acknowledged);
    both("unknown", |column| column.unknown);
    both("  of these delivered", |column| column.delivered_unknown);
    both("outcome still open", |column| column.open);
    row("no outcome asked for", Some(telemetry.unasked), None);
    row("outcome lost in a power cut", Some(telemetry.forgotten), None);
    row("refused, never sealed", None, Some(commands.unsent));
    row("delivered", Some(telemetry.delivered), Some(commands.delivered));
    row("  recorded, line lost in a kill", Some(*lines_lost), None);
    row("  idempotent, queued again", None, Some(*requeued));
    rows
}

fn fault_cells(picture: &Picture) -> Vec<(&'static str, u64)> {
    let counts = Fault::ALL.iter().map(|fault| (fault.label(), picture.tally.count(*fault)));
    counts.chain([("rotations finished", picture.finished_rotations as u64)]).collect()
}

/// As many cells to a line as fit.
fn wrapped(cells: &[(&str, u64)]) -> Vec<String> {
    let mut lines = vec![String::new()];
    for (label, count) in cells {
        let cell = format!("{label} {count}");
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = cell,
            Some(line) if line.len() + 3 + cell.len() <= COLUMNS => *line = format!("{line}   {cell}"),
            _ => lines.push(cell),
        }
    }
    lines
}

fn cost_rows(picture: &Picture) -> Vec<String> {
    let sum = |of: fn(&Sight) -> u64| picture.sights.iter().map(of).sum::<u64>();
    let (boots, moves, erases) = (sum(|s| s.boots), sum(|s| s.moves), sum(|s| s.erases));
    let in_boots = sum(|s| s.writes).saturating_sub(moves);
    let per_boot = mean(usize::try_from(in_boots).unwrap_or(0), usize::try_from(boots).unwrap_or(0));
    let (payload, wire) = (picture.totals.bytes.mean_payload(), picture.totals.bytes.mean_wire());
    let row = |label: &str, value: String, more: String| format!("  {label:34}{value:>6}   {more}");
    vec![
        row(
            "flash writes per boot",
            format!("{per_boot:.2}"),
            format!("{in_boots} in {boots} boots; {moves} more for Floors, {erases} erases"),
        ),
        row(
            "bytes per telemetry on the wire",
            format!("{wire:.1}"),
            format!("payload {payload:.1}, protocol {:.1}", wire - payload),
        ),
        row(
            "sealed",
            picture.totals.sealed.to_string(),
            "different datagrams, each opened by the auditor".to_owned(),
        ),
        row(
            "dropped by the gateway",
            picture.rejected.to_string(),
            format!("by devices {}", sum(|s| s.rejected)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(devices: usize) -> Picture {
        let tally = Tally::default();
        tally.add(Fault::Kill);
        let mut totals = Totals { lines_lost: 3, ..Totals::default() };
        totals.bytes.add(20, 41);
        let sight = Sight { on: true, in_session: true, boots: 4, writes: 5, moves: 1, ..Sight::default() };
        let broken = vec![Broken { promise: Promise::OnlyOnce, how: "x".repeat(200) }];
        Picture {
            phase: "calm",
            totals,
            tally: Arc::new(tally),
            sights: vec![sight; devices],
            finished_rotations: 0,
            rejected: 99_999,
            broken,
        }
    }

    #[test]
    fn the_table_tells_everything() {
        let table = table(&picture(2));
        for row in [
            "recorded, line lost in a kill              3",
            "kills                        1",
            "duplicates                             1",
            "forgeries accepted                     0",
            "flash writes per boot               1.00   8 in 8 boots; 2 more for Floors, 0 erases",
            "bytes per telemetry on the wire     41.0   payload 20.0, protocol 21.0",
        ] {
            assert!(table.contains(row), "{row}\n{table}");
        }
    }

    #[test]
    fn a_picture_fits_a_small_terminal_and_replaces_the_one_before() {
        for devices in [4, SYMBOLS, 1_000] {
            let mut view = View::on(Instant::now(), true);
            for _ in 0..2 * HAPPENINGS {
                view.happened(&"much ".repeat(40));
            }
            let first = view.redrawn(&picture(devices));
            assert!(first.lines().count() < 24, "{first}");
            assert!(first.lines().all(|line| line.chars().count() < 80), "{first}");
            let second = view.redrawn(&picture(devices));
            assert!(second.starts_with(&format!("\x1b[{}A", first.lines().count())));
        }
    }

    #[test]
    fn elsewhere_there_are_lines() {
        let view = View::on(Instant::now(), false);
        let line = view.line(&picture(4));
        assert!(
            line.contains("calm: 4 of 4 devices in session") && line.ends_with("promises broken 1\n"),
            "{line}"
        );
    }
}
