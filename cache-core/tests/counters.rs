//! Counting from many processes at once loses nothing.

use std::process::Command;

use cache_core::Store;
use cache_core::store::stats;

const DIR: &str = "COUNTERS_TEST_DIR";
const PROCESSES: u64 = 12;
const ROUNDS: u64 = 50;

#[test]
fn counting_is_exact_across_processes() {
    // The test starts itself again; in the children the variable says where to count.
    if let Some(dir) = std::env::var_os(DIR) {
        let store = Store::new(dir, false);
        for _ in 0..ROUNDS {
            store
                .count(&[(stats::HIT, 1), (stats::SAVED_US, 7)])
                .unwrap();
        }
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let child = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "counting_is_exact_across_processes"])
            .env(DIR, dir.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(|_| child()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let counters = Store::new(dir.path(), true).counters().unwrap();
    assert_eq!(counters[stats::HIT], PROCESSES * ROUNDS);
    assert_eq!(counters[stats::SAVED_US], PROCESSES * ROUNDS * 7);
}
