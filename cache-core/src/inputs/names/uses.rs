//! From which instructions a place in a program is used, directly or by way of tables.

use std::collections::BTreeSet;

use super::program::Program;

/// A table that is larger than this is not followed, bytes.
const MAX_TABLE: u64 = 4096;

/// No more entries of tables are followed at a time: each takes a search of the program.
const MAX_ENTRIES: usize = 4;

/// So many tables may lead from one to the next.
const MAX_STEPS: usize = 3;

/// The addresses of the instructions that use what is at an address. `None`: what refers to
/// it is in a table of which nobody knows who uses it.
pub(super) fn of(program: &Program<'_>, address: u64) -> Option<Vec<u64>> {
    let mut references = program.references(&BTreeSet::from([address]));
    trace(program, references.remove(&address).unwrap_or_default())
}

/// Leads references from tables back to the instructions that use the tables.
pub(super) fn trace(program: &Program<'_>, from: Vec<u64>) -> Option<Vec<u64>> {
    let mut instructions = Vec::new();
    let mut open = from;
    for _ in 0..MAX_STEPS {
        let (code, tables): (Vec<u64>, Vec<u64>) =
            open.into_iter().partition(|from| program.is_code(*from));
        instructions.extend(code);
        if tables.is_empty() {
            return Some(instructions);
        }
        if tables.len() > MAX_ENTRIES {
            return None;
        }
        open = Vec::new();
        for entry in tables {
            open.extend(users_of_table(program, program.entry(entry))?);
        }
    }
    None
}

/// What refers to the table that has this entry: to the nearest place at or before it.
fn users_of_table(program: &Program<'_>, entry: u64) -> Option<Vec<u64>> {
    let start = entry.saturating_sub(MAX_TABLE);
    let places: BTreeSet<u64> = (start..=entry).rev().step_by(8).collect();
    let references = program.references(&places);
    let (_, users) = references.into_iter().next_back()?;
    Some(users)
}
