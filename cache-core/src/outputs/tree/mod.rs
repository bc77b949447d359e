//! What a run leaves in a directory that was empty: capturing and restoring a tree.
//!
//! Files go into the blob store. Text that names roots (`.pc` files, generated sources) is
//! kept in the result with the roots left open, so that it serves other checkouts; what
//! contains a root in any other form binds the result to that root's place. So does what
//! is compressed, which hides what it contains.
//!
//! What a file is beside its content comes back with it: holes stay holes, and names of one file
//! are names of one file. A file that has a name outside the tree is another matter: who writes
//! through one name changes the other, which a hit cannot bring about, so such a tree is not kept.
//!
//! A tree is restored beside its place, files in the order in which they were written, so
//! that tools which compare times find what they left. Only when every file is there and
//! verified does the whole get its place, by one rename. Until then it lies in a directory that nobody else
//! may enter, and what has permissions of its own has no others at any time.

mod capture;
mod restore;
#[cfg(test)]
mod tests;

pub(crate) use capture::capture;
pub(crate) use restore::restore;

use crate::roots::{self, Escaping, Root, Roots, Scanner, Template};

/// Text with its roots left open, and the roots that it is bound to: those that it still
/// contains, those whose path is so short that it may mean something else, and all where
/// it holds a relative path from `OUT_DIR` to another of them.
pub(crate) fn open_roots(text: &[u8], roots: &Roots) -> (Template, Vec<Root>) {
    let template = roots.template(text, Escaping::Raw);
    if leads_up(text, UP_TO_TARGET) {
        return (template, Root::ALL.to_vec());
    }
    let mut scanner = Scanner::new(roots);
    for literal in template.literals() {
        scanner.next_content();
        scanner.scan(literal);
    }
    let mut bound = scanner.found().to_vec();
    bound.extend(template.roots().filter(|root| is_short(roots, *root)));
    (template, bound)
}

/// How far `OUT_DIR` lies below the target directory at least:
/// `<profile>/build/<package>/out`.
const UP_TO_TARGET: usize = 4;

/// Whether text holds a relative path that leads up so many directories.
fn leads_up(text: &[u8], least: usize) -> bool {
    let up = b"../".repeat(least);
    memchr::memmem::find(text, &up).is_some()
}

/// Whether a root's path may well be text of another meaning: `/app`.
fn is_short(roots: &Roots, root: Root) -> bool {
    let path = roots.get(root);
    path.is_some_and(|path| path.components().count() <= 2)
}

/// Whether a root's path stands in any language as it is.
fn is_plain(roots: &Roots, root: Root) -> bool {
    roots.get(root).is_some_and(roots::is_plain)
}
