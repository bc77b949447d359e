//! What watching a compile costs: the same library compiled with and without the observer.
//!
//! `cargo bench -p cache-core --bench observer [-- PAIRS]` compiles a generated library in
//! alternating order (observed first in every other pair, because machines drift) and
//! prints the median wall time of both and the median of the ratios. Nothing is asserted:
//! a number from a noisy machine is for people to read.
//!
//! `… --bench observer -- RUNS sh -c '…'` runs a command that often as a build script's tree is
//! watched, and counts the runs that were not seen whole, by reason: a signal may interrupt a
//! call that waits for the observer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use cache_core::{Command, Depth, Environment, Runner as _, Status, SystemRunner};

/// Modules of the generated library; each is a file, as sources are what a compile reads.
const MODULES: usize = 20;

fn main() {
    // Cargo says besides that this is a benchmark.
    let args = std::env::args().skip(1).filter(|arg| arg != "--bench");
    let mut args = args.collect::<Vec<_>>().into_iter();
    let pairs = args.next().and_then(|arg| arg.parse().ok());
    let pairs: usize = pairs.unwrap_or(21);
    if let Some(program) = args.next() {
        let here = std::env::current_dir().expect("there should be a current directory");
        let mut command = Command::new(program, Environment::of_process(), here);
        command.args = args.map(Into::into).collect();
        return count_missed(&command, pairs);
    }
    let dir = tempfile::tempdir().expect("a temporary directory should be creatable");
    write_library(dir.path());
    let mut command = Command::new("rustc", Environment::of_process(), dir.path());
    command.args = [
        "--crate-name=sample",
        "--crate-type=lib",
        "--edition=2021",
        "--emit=dep-info,metadata,link",
        "-Cdebuginfo=2",
        "--out-dir=.",
        "lib.rs",
    ]
    .map(Into::into)
    .to_vec();
    compile(&command, None);
    let (mut plain, mut observed, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        let (a, b) = if pair % 2 == 0 {
            let a = compile(&command, None);
            (a, compile(&command, Some(Depth::Usual)))
        } else {
            let b = compile(&command, Some(Depth::Usual));
            (compile(&command, None), b)
        };
        plain.push(a.as_secs_f64());
        observed.push(b.as_secs_f64());
        ratios.push(b.as_secs_f64() / a.as_secs_f64());
    }
    println!("pairs              {pairs}");
    println!("unobserved, median {:.1} ms", 1000.0 * median(&mut plain));
    println!(
        "observed, median   {:.1} ms",
        1000.0 * median(&mut observed)
    );
    println!("ratio, median      {:.4}", median(&mut ratios));
}

fn count_missed(command: &Command, runs: usize) {
    let mut missed: BTreeMap<String, usize> = BTreeMap::new();
    let (mut failed, mut calls) = (0, (0, 0));
    for _ in 0..runs {
        let run = SystemRunner
            .run(command, Some(Depth::Tree), &mut |_| (), &mut |_| ())
            .expect("the command should start");
        failed += usize::from(run.status != Status::Code(0));
        calls = run.calls().unwrap_or(calls);
        if let Some(why) = run.missed() {
            *missed.entry(why.to_owned()).or_default() += 1;
        }
    }
    println!("runs               {runs}");
    println!("failed             {failed}");
    println!(
        "calls of the last  {} announced, {} noted",
        calls.0, calls.1
    );
    println!("not seen whole     {}", missed.values().sum::<usize>());
    for (why, count) in &missed {
        println!("  {count:5}  {why}");
    }
}

fn compile(command: &Command, observe: Option<Depth>) -> Duration {
    let start = Instant::now();
    let run = SystemRunner
        .run(command, observe, &mut |_| (), &mut |_| ())
        .expect("rustc should start");
    assert_eq!(run.status, Status::Code(0), "the library should compile");
    start.elapsed()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn write_library(dir: &Path) {
    let mut lib = String::new();
    for module in 0..MODULES {
        let _ = writeln!(lib, "pub mod m{module};");
        let mut text = String::new();
        for item in 0..12 {
            let _ = writeln!(
                text,
                "#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]\n\
                 pub struct S{item} {{ pub a: Vec<u32>, pub b: Option<String> }}\n\
                 pub fn f{item}(s: &S{item}) -> usize {{ s.a.iter().map(|n| *n as usize).sum() }}"
            );
        }
        std::fs::write(dir.join(format!("m{module}.rs")), text).expect("a module is writable");
    }
    std::fs::write(dir.join("lib.rs"), lib).expect("the library is writable");
}
