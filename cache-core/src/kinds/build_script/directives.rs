//! What a build script says to cargo, as far as it concerns a cache.
//!
//! ```text
//! line = ("cargo:" | "cargo::") directive "=" value
//! ```

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Directive<'a> {
    /// Run again if this path changed.
    RerunIfChanged(&'a Path),
    /// Run again if this variable changed.
    RerunIfEnvChanged(&'a [u8]),
    /// The build has failed.
    Error,
}

/// The directives in what went to standard output.
pub(crate) fn directives(stdout: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    stdout.split(|&b| b == b'\n').filter_map(|line| {
        let line = line.strip_prefix(b"cargo:")?;
        let line = line.strip_prefix(b":").unwrap_or(line).trim_ascii_end();
        let at = memchr::memchr(b'=', line)?;
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default();
        match name {
            b"rerun-if-changed" => Some(Directive::RerunIfChanged(Path::new(OsStr::from_bytes(
                value,
            )))),
            b"rerun-if-env-changed" => Some(Directive::RerunIfEnvChanged(value)),
            b"error" => Some(Directive::Error),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood() {
        let text = b"cargo:rerun-if-changed=a=b c\ncargo::rerun-if-env-changed=CC \r\n\
            cargo:error\ncargo::error=no\nnot cargo:error=x\ncargo:root=/x\n";
        let found: Vec<_> = directives(text).collect();
        assert_eq!(
            found,
            [
                Directive::RerunIfChanged(Path::new("a=b c")),
                Directive::RerunIfEnvChanged(b"CC"),
                Directive::Error,
            ]
        );
    }
}
