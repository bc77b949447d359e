//! The processor: what "native" means to compilers on this machine.

use std::path::Path;

use crate::os::fs;

/// Enough for the first processor of any machine, bytes. The kernel makes up the rest of
/// the file only for those who read it, which takes long where processors are many.
const FIRST: u64 = 16 << 10;

/// Model and features of the first processor; `None` where the kernel does not tell them in a file.
pub(crate) fn identity() -> Option<Vec<u8>> {
    let info = fs::read_start(Path::new("/proc/cpuinfo"), FIRST).ok()?;
    let first = memchr::memmem::find(&info, b"\n\n").unwrap_or(info.len());
    let stable = |line: &&[u8]| {
        let varying: [&[u8]; 6] = [
            b"processor",
            b"cpu MHz",
            b"apicid",
            b"initial apicid",
            b"core id",
            b"bogomips",
        ];
        !varying.iter().any(|name| line.starts_with(name))
    };
    let lines = info.get(..first).unwrap_or_default().split(|&b| b == b'\n');
    Some(lines.filter(stable).collect::<Vec<_>>().join(&b'\n'))
}
