//! Looking for the places of roots in content of any kind.

use std::os::unix::ffi::OsStrExt as _;

use memchr::memmem;

use super::{Root, Roots};

/// Looks for the paths of roots in content that comes piece by piece.
///
/// Unlike in text, an occurrence need not stand at path boundaries: compilers put string
/// literals next to each other, so that any byte may precede or follow a path. One
/// occurrence too many (`/app` in `/apple`) merely binds a result more closely than
/// needed. Left out are names of source files as debug information has them: nearly every program
/// names the standard library's `btree/append.rs`, and would be bound to a workspace `/app`.
#[derive(Debug)]
pub(crate) struct Scanner {
    /// What is looked for, and the roots that it stands for.
    needles: Vec<(Vec<Root>, memmem::Finder<'static>)>,
    /// The longest needle: what an occurrence across two pieces needs.
    reach: usize,
    /// The end of the previous pieces.
    tail: Vec<u8>,
    found: Vec<Root>,
}

impl Scanner {
    pub(crate) fn new(roots: &Roots) -> Self {
        Self::of(roots, |_| true)
    }

    /// Looks for some of them.
    pub(crate) fn of(roots: &Roots, wanted: fn(Root) -> bool) -> Self {
        let needles: Vec<_> = roots
            .spellings()
            .filter(|(root, _)| wanted(*root))
            .map(|(root, path)| {
                let needle = path.as_os_str().as_bytes();
                (vec![root], memmem::Finder::new(needle).into_owned())
            })
            .collect();
        Self {
            reach: longest(&needles),
            needles,
            tail: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Takes a mark as well for all roots: of content whose paths do not show.
    pub(crate) fn hidden_behind(mut self, mark: &[u8]) -> Self {
        let finder = memmem::Finder::new(mark).into_owned();
        self.needles.push((Root::ALL.to_vec(), finder));
        self.reach = longest(&self.needles);
        self
    }

    /// Looks at the next piece.
    pub(crate) fn scan(&mut self, piece: &[u8]) {
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(piece.get(..self.reach).unwrap_or(piece));
        self.look_at(&seam);
        // What the next seam needs: the last bytes seen.
        if let Some(start) = piece.len().checked_sub(self.reach) {
            self.look_at(piece);
            seam.clear();
            seam.extend_from_slice(piece.get(start..).unwrap_or_default());
        }
        seam.drain(..seam.len().saturating_sub(self.reach));
        self.tail = seam;
    }

    fn look_at(&mut self, content: &[u8]) {
        for (roots, finder) in &self.needles {
            if roots.iter().all(|root| self.found.contains(root)) {
                continue;
            }
            let length = finder.needle().len();
            let mut all = finder.find_iter(content);
            if all.any(|at| !begins_name_of_source(content, at, length)) {
                self.found.extend(roots);
            }
        }
    }

    /// Forgets the previous content, keeping what was found in it.
    pub(crate) fn next_content(&mut self) {
        self.tail.clear();
    }

    /// The roots found so far.
    pub(crate) fn found(&self) -> &[Root] {
        &self.found
    }
}

/// How long the longest is, bytes.
fn longest<T>(needles: &[(T, memmem::Finder<'_>)]) -> usize {
    let lengths = needles.iter().map(|(_, finder)| finder.needle().len());
    lengths.max().unwrap_or(0)
}

/// Whether the text at `at` is a directory's end and the beginning of a longer name of a source file,
/// `…btree/append.rs`, which a zero byte ends as in debug information. Where a piece of content
/// ends too early to tell, it is not.
///
/// Literals that stand side by side could look the same, `…x` `/app` `main.rs`; so the
/// names that packages give their own files, which panics mention, do not count, and other literals
/// are not followed by a zero byte.
fn begins_name_of_source(content: &[u8], at: usize, length: usize) -> bool {
    let is_name_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let before = at.checked_sub(1).and_then(|i| content.get(i));
    let after = content.get(at + length..).unwrap_or_default();
    let rest = after.iter().take_while(|b| is_name_byte(b)).count();
    let (rest, extension) = after.split_at(rest);
    before.is_some_and(is_name_byte)
        && extension.starts_with(b".rs\0")
        && !matches!(rest, b"" | b"build" | b"lib" | b"main" | b"mod")
}

#[cfg(test)]
mod tests {
    use super::super::tests::roots;
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Vec<Root> {
        let mut scanner = Scanner::new(&roots("/tmp/t", "/app"));
        for piece in pieces {
            scanner.scan(piece);
        }
        scanner.found().to_vec()
    }

    #[test]
    fn literal_bytes_are_found_in_binaries() {
        assert_eq!(scan(&[b"\0x/app\0"]), [Root::Workspace]);
        assert_eq!(scan(&[b"before/appafter"]), [Root::Workspace]);
        assert!(scan(&[b"\0/ap /tmp/"]).is_empty());
    }

    #[test]
    fn marks_stand_for_all_roots() {
        for pieces in [&[&b"\0.gnu.lto_.inline\0"[..]][..], &[b"\0.gnu", b".lto_"]] {
            let mut scanner = Scanner::new(&roots("/tmp/t", "/app")).hidden_behind(b".gnu.lto_");
            for piece in pieces {
                scanner.scan(piece);
            }
            assert_eq!(scanner.found(), Root::ALL);
        }
    }

    #[test]
    fn longer_names_of_source_files_are_no_occurrences() {
        assert!(scan(&[b"\0library/btree/append.rs\0src/app_settings.rs\0"]).is_empty());
        for content in [
            &b"\0src/append.rs\0/app\0"[..],
            b"\0/append.rs\0",
            b"src/append.rs",
            b"src/append.rs more",
            b"src/append.rst\0",
            b"src/app/end.rs\0",
            b"src/app.rs\0",
            b"x/appbuild.rs\0",
            b"x/appmain.rs\0",
        ] {
            assert_eq!(scan(&[content]), [Root::Workspace], "{content:?}");
        }
    }

    #[test]
    fn an_occurrence_may_be_cut_anywhere() {
        let content = b"..../tmp/t/debug....";
        for i in 0..content.len() {
            for j in i..content.len() {
                let pieces = [&content[..i], &content[i..j], &content[j..]];
                assert_eq!(scan(&pieces), [Root::Target], "{i} {j}");
            }
        }
    }
}
