//! Looking for the places of roots in content of any kind.

use std::os::unix::ffi::OsStrExt as _;

use memchr::memmem;

use super::{Root, Roots};

/// Looks for the paths of roots in content that comes piece by piece.
///
/// Unlike in text, an occurrence need not stand at path boundaries: compilers put string
/// literals next to each other, so that any byte may precede or follow a path. One
/// occurrence too many (`/app` in `/apple`) merely binds a result more closely than
/// needed.
#[derive(Debug)]
pub(crate) struct Scanner {
    needles: Vec<(Root, memmem::Finder<'static>)>,
    /// The longest needle: what an occurrence across two pieces needs.
    reach: usize,
    /// The end of the previous pieces.
    tail: Vec<u8>,
    found: Vec<Root>,
}

impl Scanner {
    pub(crate) fn new(roots: &Roots) -> Self {
        let needles: Vec<_> = roots
            .spellings()
            .map(|(root, path)| {
                let needle = path.as_os_str().as_bytes();
                (root, memmem::Finder::new(needle).into_owned())
            })
            .collect();
        let longest = needles.iter().map(|(_, f)| f.needle().len()).max();
        Self {
            needles,
            reach: longest.unwrap_or(0),
            tail: Vec::new(),
            found: Vec::new(),
        }
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
        for (root, finder) in &self.needles {
            if self.found.contains(root) {
                continue;
            }
            if finder.find(content).is_some() {
                self.found.push(*root);
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
