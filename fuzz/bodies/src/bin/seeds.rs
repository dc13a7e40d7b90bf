//! Writes the seeds to files: `seeds DIRECTORY`, below it one directory for each target.

use std::io;
use std::path::Path;

use moteseal_fuzz_bodies::seeds;

fn main() -> io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| "seeds".into());
    for (number, (target, input)) in seeds::all().into_iter().enumerate() {
        let directory = Path::new(&directory).join(target);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(format!("seed-{number:04}")), input)?;
    }
    Ok(())
}
