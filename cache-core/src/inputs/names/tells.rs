//! What a package's own code may tell a shell, another interpreter, `find` or `ls` to make of what `stat` tells, by the words
//! that it says so with.
//!
//! | words | for instance |
//! |---|---|
//! | operators and functions | `-nt`, `getmtime`, `(stat $file)[9]`, `-M $file` |
//! | functions that copy times, or put them into archives | `shutil.copy2`, `zipfile` |
//! | options behind a program's name, in a line or a list | `ls -t`, `["ls", "-t"]`, `gzip -9` |
//!
//! What can go wrong: the words are put together (`op=-nt`), or stand where they tell nobody anything. The latter costs hits in
//! other checkouts only.

use std::sync::LazyLock;

use super::Minds;
use super::patterns::{Patterns, Piece};
use super::program::{Place, Program};

const MODIFIED: Minds = Minds::MODIFIED;
const CHANGED: Minds = Minds::CHANGED;
const ACCESSED: Minds = Minds::ACCESSED;
const OWNERS: Minds = Minds::OWNERS;
const LINKS: Minds = Minds::LINKS;
const ALL: Minds = MODIFIED.and(OWNERS).and(LINKS);

/// Words, and what they make something of.
const WORDS: [(&str, Minds); 42] = [
    ("-newer", MODIFIED),
    ("-mmin", MODIFIED),
    ("mtime", MODIFIED),
    (")[8]", MODIFIED),
    (")[9]", MODIFIED),
    ("copy2", MODIFIED),
    ("copystat", MODIFIED),
    ("copytree", MODIFIED),
    ("make_archive", ALL),
    ("tarfile", ALL),
    ("zipfile", MODIFIED),
    ("py_compile", MODIFIED),
    ("compileall", MODIFIED),
    ("Archive::Tar", ALL),
    ("Archive::Zip", MODIFIED),
    // Of `find`.
    ("-printf", ALL),
    ("-fprintf", ALL),
    (" -ls ", ALL),
    (" -ls\n", ALL),
    ("-cnewer", CHANGED),
    ("-cmin", CHANGED),
    ("-ctime", CHANGED),
    ("-anewer", ACCESSED),
    ("-atime", ACCESSED),
    ("-user ", OWNERS),
    ("-uid ", OWNERS),
    ("-group ", OWNERS),
    ("-gid ", OWNERS),
    ("-links ", LINKS),
    // Whether two are the same file: then it has two names.
    ("samefile", LINKS),
    (" -ef ", LINKS),
    ("[ -O ", OWNERS),
    ("[ -G ", OWNERS),
    ("test -O ", OWNERS),
    ("test -G ", OWNERS),
    // Of Python, JavaScript and C.
    ("st_ctime", CHANGED),
    ("ctimeMs", CHANGED),
    ("st_atime", ACCESSED),
    ("getatime", ACCESSED),
    ("st_uid", OWNERS),
    ("st_gid", OWNERS),
    ("st_nlink", LINKS),
];

/// Programs that tell what they are asked for by these options: by letters among short ones, and by how long ones begin.
const BY_OPTIONS: [(&str, &str, &[&str], Minds); 9] = [
    ("ls", "t", &["--sort=t", "--time"], MODIFIED),
    ("ls", "lgon", &["--full-time", "--format=l"], ALL),
    ("ls", "c", &["--time=c"], CHANGED),
    ("ls", "u", &["--time=a", "--time=u"], ACCESSED),
    ("cp", "u", &["--update"], MODIFIED),
    ("mv", "u", &["--update"], MODIFIED),
    ("install", "C", &["--compare"], OWNERS),
    ("diff", "ucUC", &["--unified", "--context"], MODIFIED),
    ("du", "", &["--time"], MODIFIED),
];

/// What `gzip` is told that has it write no time: to unpack, to list, to test, or not to.
const WITHOUT_TIME: (&[u8], [&str; 5]) = (
    b"dltn",
    [
        "--decompress",
        "--uncompress",
        "--list",
        "--test",
        "--no-name",
    ],
);

/// Whether a word is meant that stands in a content at a place.
type IsMeant = fn(&[u8], usize) -> bool;

/// Words that say something by what is around them.
const BY_CONTEXT: [(&str, IsMeant, Minds); 5] = [
    ("gzip", writes_time, MODIFIED),
    ("stat", is_perls_stat, ALL),
    ("-M", is_age, MODIFIED),
    ("-nt", is_word, MODIFIED),
    ("-ot", is_word, MODIFIED),
];

/// All of these, in the order of the tables.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(|| {
    let words = WORDS.iter().map(|(word, _)| word.as_bytes());
    let programs = BY_OPTIONS.iter().map(|(program, ..)| program.as_bytes());
    let others = BY_CONTEXT.iter().map(|(word, ..)| word.as_bytes());
    let all: Vec<&[u8]> = words.chain(programs).chain(others).collect();
    Patterns::new(&all, false)
});

/// What a script, or a text that a program has for an interpreter, has somebody make something of.
pub(super) fn in_text(content: &[u8]) -> Minds {
    // What debug information names is nothing that anybody is told.
    let program = Program::parse(content);
    let is_told = |at| {
        let program = program.as_ref();
        program.is_none_or(|p| p.place(at) != Place::Skipped)
    };
    let mut minds = Minds::default();
    PATTERNS.find(content, |pattern, place| {
        let is_whole = pattern.piece == Piece::Whole;
        let said = is_whole.then(|| said_by(pattern.name, content, place.start));
        let more = said.flatten().unwrap_or_default();
        if !minds.all(more) && is_told(place.start) {
            minds = minds.and(more);
        }
    });
    minds
}

/// What a word that stands somewhere says there, by its number in the tables.
fn said_by(number: usize, content: &[u8], at: usize) -> Option<Minds> {
    if let Some((_, minds)) = WORDS.get(number) {
        return Some(*minds);
    }
    let number = number - WORDS.len();
    if let Some((program, letters, long, minds)) = BY_OPTIONS.get(number) {
        let mut options = options(content, at + program.len());
        return options
            .any(|option| asks(option, letters.as_bytes(), long))
            .then_some(*minds);
    }
    let (_, is_meant, minds) = BY_CONTEXT.get(number - BY_OPTIONS.len())?;
    is_meant(content, at).then_some(*minds)
}

/// Whether `gzip` is given options, and none by which it writes no time.
fn writes_time(content: &[u8], at: usize) -> bool {
    let (letters, long) = WITHOUT_TIME;
    let mut options = options(content, at + 4).peekable();
    options.peek().is_some() && !options.any(|option| asks(option, letters, &long))
}

/// Whether Perl's `-M` is asked of a file.
fn is_age(content: &[u8], at: usize) -> bool {
    let rest = content.get(at + 2..).unwrap_or_default().trim_ascii_start();
    rest.first().is_some_and(|first| b"$\"'(_;".contains(first))
}

/// Whether an operator of three letters stands alone.
fn is_word(content: &[u8], at: usize) -> bool {
    let is_end = |at: Option<usize>| {
        let byte = at.and_then(|at| content.get(at));
        byte.is_none_or(|byte| byte.is_ascii_whitespace() || b"\"'=;]".contains(byte))
    };
    is_end(at.checked_sub(1)) && is_end(Some(at + 3))
}

/// The options that follow a program's name, which ends here: in a line of a shell, or in a list of texts.
fn options(content: &[u8], from: usize) -> impl Iterator<Item = &[u8]> {
    let is_between = |byte: &u8| b" \t\"',".contains(byte);
    let mut rest = content.get(from..).unwrap_or_default();
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !is_between(byte))?;
        let word = rest.get(start..).filter(|_| start > 0)?;
        let is_end = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"-=_".contains(byte));
        let end = word.iter().position(is_end).unwrap_or(word.len());
        let (word, after) = word.split_at_checked(end)?;
        rest = after;
        word.starts_with(b"-").then_some(word)
    })
}

/// Whether an option is one of these letters, or a long one that begins so.
fn asks(option: &[u8], letters: &[u8], long: &[&str]) -> bool {
    if option.starts_with(b"--") {
        return long
            .iter()
            .any(|known| option.starts_with(known.as_bytes()));
    }
    option.iter().skip(1).any(|letter| letters.contains(letter))
}

/// Whether Perl's function is called for a list: `(stat $file)`, `my @all = lstat "file"`. A shell runs the program of that name in
/// `$(stat -c %s file)`.
fn is_perls_stat(content: &[u8], at: usize) -> bool {
    let before = content.get(..at).unwrap_or_default();
    let before = before.strip_suffix(b"l").unwrap_or(before);
    let is_called = before.ends_with(b"(") && !before.ends_with(b"$(");
    let is_assigned = before.trim_ascii_end().ends_with(b"=");
    let after = content.get(at + 4..).unwrap_or_default();
    let mut after = after.iter().filter(|byte| !b" (".contains(byte));
    (is_called || is_assigned) && after.next().is_some_and(|next| b"$\"'_@".contains(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_is_asked_for() {
        for (text, minds) in [
            ("[ a -nt b ] && make", MODIFIED),
            ("op=-ot; run(['test', 'a', \"-nt\", b])", MODIFIED),
            ("a re-ntry of non-nt -ntx", Minds::default()),
            ("os.path.getmtime(path)", MODIFIED),
            ("newest=$(ls -t *.proto | head -1)", MODIFIED),
            ("subprocess.run(['ls', '-1t'])", MODIFIED),
            ("ls --sort=time", MODIFIED),
            ("ls -la src", ALL),
            ("ls -1 src; ls -F *.c", Minds::default()),
            ("for tool in ls -x; do", Minds::default()),
            ("gzip -9 -c a > b", MODIFIED),
            (
                "gzip -dc a.gz; gzip -9n b; gzip --no-name -k b",
                Minds::default(),
            ),
            ("cp -pu a b", MODIFIED),
            ("diff -u a b", MODIFIED),
            ("diff -q a b", Minds::default()),
            ("find . -printf '%T@'", ALL),
            ("print((stat($file))[7,9])", ALL),
            ("my @all = lstat \"file\";", ALL),
            ("size=$(stat -c %s file)", Minds::default()),
            ("-M $a > -M('b')", MODIFIED),
            ("perl -MPOSIX -e 1; gcc -M -MF x", Minds::default()),
            ("[ a -ef b ]", LINKS),
            ("os.stat(path).st_uid", OWNERS),
            ("find . -atime 1", ACCESSED),
        ] {
            assert_eq!(in_text(text.as_bytes()), minds, "{text}");
        }
    }
}
