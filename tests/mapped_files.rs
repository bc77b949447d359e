//! Files that change without a change of their times: through a mapping, or because another image
//! of a file system is mounted where the first one was.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::file_systems::Mount;
use crate::harness::{Case, bin_manifest};

/// Maps a file for writing, and writes each line that it is given over the file's start. It says a
/// line when it has.
const WRITER: &str = "
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDWR);
  char *file = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (file == MAP_FAILED) return 1;
  close(fd);
  char line[100];
  while (fgets(line, sizeof line, stdin)) {
    memcpy(file, line, strlen(line) - 1);
    puts(\"done\");
    fflush(stdout);
  }
  return 0;
}
";

struct Writer {
    child: Child,
    to: ChildStdin,
    from: BufReader<std::process::ChildStdout>,
}

impl Writer {
    fn start(case: &Case, file: &Path) -> Self {
        let source = case.root().join("writer.c");
        fs::write(&source, WRITER).expect("it should be writable");
        let program = case.root().join("writer");
        let built = Command::new("cc")
            .arg("-o")
            .arg(&program)
            .arg(&source)
            .status();
        assert!(built.is_ok_and(|status| status.success()));
        let mut child = Command::new(&program)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it should start");
        let to = child.stdin.take().expect("it is piped");
        let from = BufReader::new(child.stdout.take().expect("it is piped"));
        Self { child, to, from }
    }

    fn write(&mut self, text: &str) {
        writeln!(self.to, "{text}").expect("it should listen");
        let mut answer = String::new();
        self.from.read_line(&mut answer).expect("it should answer");
        assert_eq!(answer, "done\n");
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that prints the start of a file.
fn project(data: &Path) -> Case {
    let case = Case::new();
    let data = data.display();
    case.write("Cargo.toml", bin_manifest("app", &[])).write(
        "src/main.rs",
        format!("fn main() {{ print!(\"{{}}\", &include_str!(\"{data}\")[..3]); }}"),
    );
    case
}

fn prints(case: &Case) -> String {
    case.wipe();
    case.cargo(&["build"]).ok();
    case.printed("debug/app")
}

fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}

fn is_seen_to_be_written_through_a_mapping(case: &Case, data: &Path) {
    fs::write(data, "old".to_owned() + &" ".repeat(4093)).expect("it should be writable");
    let mut writer = Writer::start(case, data);
    writer.write("one");
    settle();
    assert_eq!(prints(case), "one");
    for text in ["two", "six", "ten"] {
        writer.write(text);
        assert_eq!(prints(case), text);
        assert_eq!(prints(case), text);
    }
    drop(writer);
    // From here on the times tell.
    assert_eq!(prints(case), "ten");
    let mut writer = Writer::start(case, data);
    writer.write("end");
    settle();
    assert_eq!(prints(case), "end");
}

#[test]
fn a_file_written_through_a_mapping() {
    let place = tempfile::tempdir().expect("it should be creatable");
    let data = place.path().join("data");
    is_seen_to_be_written_through_a_mapping(&project(&data), &data);
}

/// Nothing is ever written back there, so the times change once for each mapping.
#[test]
fn a_file_in_memory_written_through_a_mapping() {
    let place = tempfile::tempdir().expect("it should be creatable");
    let Some(_mount) = Mount::tmpfs(&place.path().join("memory"), "size=1m") else {
        return;
    };
    let data = place.path().join("memory/data");
    is_seen_to_be_written_through_a_mapping(&project(&data), &data);
}

/// Two images of one file system that differ in the content of a file and in nothing else.
#[test]
fn another_image_mounted_in_the_same_place() {
    let place = tempfile::tempdir().expect("it should be creatable");
    let (mount, image) = (place.path().join("mount"), place.path().join("image"));
    let Some(mounted) = Mount::image("mkfs.ext4", &[], &mount, &image) else {
        return;
    };
    let data = mount.join("data");
    fs::write(&data, "one".to_owned() + &"unlikely".repeat(400)).expect("it should be writable");
    let case = project(&data);
    drop(mounted);
    let mut bytes = fs::read(&image).expect("it should be readable");
    let at = bytes.windows(11).position(|text| text == b"oneunlikely");
    let at = at.expect("it should be on the disk");
    bytes[at..at + 3].copy_from_slice(b"two");
    let other: PathBuf = place.path().join("other");
    fs::write(&other, bytes).expect("it should be writable");
    for (image, text) in [(&image, "one"), (&other, "two"), (&image, "one")] {
        let image = image.to_str().expect("a path of the test is text");
        let Some(_mounted) = Mount::new(&mount, &["-o", "loop", image]) else {
            return;
        };
        assert_eq!(prints(&case), text);
        assert_eq!(prints(&case), text);
    }
}
