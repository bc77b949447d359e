//! Extended attributes of outputs.
//!
//! Neither the store nor a hit keeps them, so what somebody gave some to (a capability, a list of who may do what) is not
//! stored. Those that a system gives every file by itself mean nothing, nor do lists that files get from the directory that they
//! are made in, as they do again.

use std::path::Path;

/// What security modules put on every file.
const OF_SYSTEM: &[&str] = &[
    "security.SMACK64",
    "security.apparmor",
    "security.evm",
    "security.ima",
    "security.selinux",
];

/// Who may do what, beside the owner, a group and others.
const RIGHTS: &str = "system.posix_acl_access";

/// The same for what is made in a directory.
const RIGHTS_INSIDE: &str = "system.posix_acl_default";

/// Whether somebody gave attributes to what lies at a path, a link itself.
#[cfg(target_os = "linux")]
pub(crate) fn were_given(path: &Path) -> bool {
    let names = names(path);
    let mut given = names.iter().filter(|name| {
        let is_of_system = OF_SYSTEM.iter().any(|known| name.starts_with(known));
        // File systems of networks have lists of rights of their own making for every file.
        let is_of_file_system =
            name.starts_with("system.") && !name.starts_with("system.posix_acl_");
        !is_of_system && !is_of_file_system
    });
    given.any(|name| {
        let are_rights = name == RIGHTS || name == RIGHTS_INSIDE;
        !are_rights || !gives_rights_inside(path.parent())
    })
}

/// No other system is known to have them.
#[cfg(not(target_os = "linux"))]
pub(crate) fn were_given(_: &Path) -> bool {
    false
}

#[cfg(target_os = "linux")]
fn gives_rights_inside(dir: Option<&Path>) -> bool {
    dir.is_some_and(|dir| names(dir).iter().any(|name| name == RIGHTS_INSIDE))
}

/// The names of attributes. What cannot be asked has none.
#[cfg(target_os = "linux")]
fn names(path: &Path) -> Vec<String> {
    let length = rustix::fs::llistxattr_query(path).unwrap_or(0);
    if length == 0 {
        return Vec::new();
    }
    let mut names = vec![0_u8; length];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap_or(0);
    names.truncate(length);
    let names = names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty());
    names
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_counts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(!were_given(&file));
        assert!(!were_given(dir.path()));
        assert!(!were_given(&dir.path().join("nothing")));
        let flags = rustix::fs::XattrFlags::empty();
        let set = rustix::fs::setxattr(&file, "user.test", b"1", flags);
        // Not every file system has room for them.
        assert_eq!(were_given(&file), set.is_ok());
    }
}
