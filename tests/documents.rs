//! Whatever the README and `docs/` tell people to type does what they say, or at least works.
//!
//! Blocks of shell commands are run as they stand, one file's after the other, in a copy of a project; then
//! commands within the text. A block that cannot be run here has a line before it that says why:
//!
//! ```text
//! <!-- not run: it takes minutes -->
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Cli, ran};

/// The documents with commands, by their paths in the repository.
fn documents() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files: Vec<PathBuf> = vec![root.join("README.md")];
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    files.extend(docs.filter(|path| path.extension().is_some_and(|end| end == "md")));
    files.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().display().to_string();
        (name, std::fs::read_to_string(path).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// A block between fences.
struct Block<'a> {
    language: &'a str,
    text: String,
    /// Why it is not run.
    mark: Option<&'a str>,
}

fn blocks(document: &str) -> Vec<Block<'_>> {
    let mut found = Vec::new();
    let mut before = "";
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let mark = before.strip_prefix("<!-- not run: ");
            let mark = mark.and_then(|mark| mark.strip_suffix(" -->"));
            let text = inside.join("\n") + "\n";
            found.push(Block {
                language,
                text,
                mark,
            });
        }
        before = line;
    }
    found
}

/// Commands within the text that can be typed as they are: without choices and placeholders.
fn inline(document: &str) -> Vec<&str> {
    let spans = document.split('`').skip(1).step_by(2);
    let ours = spans.filter(|span| {
        span.starts_with("cargo cachewrap ") || span.starts_with("RUSTC_WRAPPER=cachewrap ")
    });
    let placeholder = |word: &str| word.bytes().all(|b| b.is_ascii_uppercase());
    ours.filter(|span| !span.contains(['[', '…', '<']) && !span.split(' ').any(placeholder))
        .collect()
}

/// A shell in a project, where both programs and cargo are in PATH, and nothing of the user's is touched.
struct Shell {
    cli: Cli,
}

impl Shell {
    fn new() -> Self {
        let cli = Cli::new();
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/kinds");
        for entry in walkdir::WalkDir::new(&fixture) {
            let entry = entry.unwrap();
            let to = cli
                .path("project")
                .join(entry.path().strip_prefix(&fixture).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(to).unwrap();
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        let programs = cli.programs();
        for program in [
            env!("CARGO_BIN_EXE_cachewrap"),
            env!("CARGO_BIN_EXE_cargo-cachewrap"),
        ] {
            let name = Path::new(program).file_name().unwrap();
            std::os::unix::fs::symlink(program, programs.join(name)).unwrap();
        }
        Self { cli }
    }

    /// A remote, for the commands that need one.
    fn remote(&self) -> String {
        let dir = self.cli.path("remote");
        format!("file://{}?mode=write", dir.display())
    }

    #[track_caller]
    fn run(&self, commands: &str) {
        let path = std::env::var("PATH").unwrap();
        let mut shell: Command = self.cli.program("/bin/sh");
        let shell = shell
            .args(["-euc", commands])
            .current_dir(self.cli.path("project"));
        let programs = self.cli.programs();
        let shell = shell.env("PATH", format!("{}:{path}", programs.display()));
        let shell = shell
            .env("CARGO_HOME", self.cli.path(".cargo"))
            .env("CACHEWRAP_REMOTE", self.remote())
            .env("CACHEWRAP_REMOTE_TRUST", "bucket")
            .env("CARGO_NET_OFFLINE", "true");
        let ran = ran(shell.output().unwrap());
        assert_eq!(ran.status, 0, "{commands}\n{}{}", ran.stdout, ran.stderr);
    }
}

#[test]
fn what_is_documented_can_be_typed() {
    let shell = Shell::new();
    let (mut run, mut skipped) = (0, 0);
    for (name, document) in documents() {
        for block in blocks(&document)
            .iter()
            .filter(|block| block.language == "sh")
        {
            if let Some(mark) = block.mark {
                eprintln!("not run: {name}: {mark}");
                skipped += 1;
            } else {
                shell.run(&block.text);
                run += 1;
            }
        }
    }
    assert!(
        run >= 1 && skipped >= 1,
        "{run} blocks were found, {skipped} that cannot be run"
    );
    let documents = documents();
    let commands: Vec<&str> = documents
        .iter()
        .flat_map(|(_, text)| inline(text))
        .collect();
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        shell.run(command);
    }
}

#[test]
fn examples_of_the_file_are_valid() {
    let documents = documents();
    let (_, readme) = documents
        .iter()
        .find(|(name, _)| name == "README.md")
        .unwrap();
    let example = blocks(readme)
        .into_iter()
        .find(|block| block.language == "toml");
    let cli = Cli::new().with("CACHEWRAP_CONFIG", "~/config.toml");
    std::fs::write(cli.path("config.toml"), example.unwrap().text).unwrap();
    let ran = cli.run(&["config"]);
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout.contains("config.toml"), "{}", ran.stdout);
}

#[test]
fn the_table_of_commands_is_that_of_the_program() {
    let cli = Cli::new();
    let documents = documents();
    let (_, readme) = documents
        .iter()
        .find(|(name, _)| name == "README.md")
        .unwrap();
    let rows = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `cargo cachewrap "));
    let mut listed: Vec<&str> = Vec::new();
    for row in rows {
        let (usage, _) = row.split_once('`').unwrap();
        let name = usage.split(' ').next().unwrap();
        let help = cli.ok(&[name, "--help"]);
        let options = usage
            .split(['[', ' ', ']'])
            .filter(|word| word.starts_with("--"));
        for option in options {
            assert!(help.contains(option), "{name} {option}");
        }
        listed.push(name);
    }
    let help = cli.ok(&["--help"]);
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let mut commands: Vec<&str> = commands.filter(|name| *name != "help").collect();
    commands.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, commands);
}
