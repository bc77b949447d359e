//! What calls name, read out of the memory of the process that makes them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::sys;
use crate::os::fs;

/// Reads a path. Empty where the call names none, or one that is longer than the kernel accepts.
pub(super) fn read_path(tid: u32, address: u64) -> Option<PathBuf> {
    if address == 0 {
        return Some(PathBuf::new());
    }
    let mut path = Vec::new();
    // Memory is readable page by page, and a path may end just before a hole: never
    // read across a page boundary in one go.
    let mut address = address;
    let mut buffer = [0; 4096];
    while path.len() <= libc::PATH_MAX as usize {
        let in_page = 4096 - usize::try_from(address % 4096).ok()?;
        // Most paths are short; a short read touches less memory.
        let want = in_page.min(256);
        let n = sys::read_memory(tid, address, buffer.get_mut(..want)?).ok()?;
        let piece = buffer.get(..n).filter(|piece| !piece.is_empty())?;
        if let Some(end) = memchr::memchr(0, piece) {
            path.extend_from_slice(piece.get(..end)?);
            break;
        }
        path.extend_from_slice(piece);
        address += n as u64;
    }
    if path.len() >= libc::PATH_MAX as usize {
        path.clear();
    }
    Some(PathBuf::from(OsString::from_vec(path)))
}

/// Reads the path of the socket that an address of this length names; empty where it has none.
pub(super) fn read_peer(tid: u32, address: u64, length: u64) -> Option<PathBuf> {
    // `struct sockaddr_un`: a family of 16 bits and a path of at most 108 bytes.
    let mut bytes = [0; 110];
    let length = usize::try_from(length).ok()?.min(bytes.len());
    let bytes_read = sys::read_memory(tid, address, bytes.get_mut(..length)?).ok()?;
    if bytes_read != length {
        return None;
    }
    let [low, high, path @ ..] = bytes;
    let path = path.split(|&b| b == 0).next().unwrap_or_default();
    let is_local = i32::from(u16::from_ne_bytes([low, high])) == libc::AF_UNIX;
    let path = if is_local { path.to_vec() } else { Vec::new() };
    Some(PathBuf::from(OsString::from_vec(path)))
}

/// Where a message's address is, and how long: the first two fields of `struct msghdr`.
pub(super) fn read_name(tid: u32, message: u64) -> Option<(u64, u64)> {
    let mut bytes = [0; 12];
    let n = sys::read_memory(tid, message, &mut bytes).ok()?;
    let (address, length) = bytes.split_first_chunk::<8>()?;
    let length = <[u8; 4]>::try_from(length).ok()?;
    let is_whole = n == bytes.len();
    is_whole.then_some((
        u64::from_ne_bytes(*address),
        u32::from_ne_bytes(length).into(),
    ))
}

/// Whether an address in a process's memory lies in the code of glibc's dynamic loader.
pub(super) fn is_of_loader(tid: u32, address: u64) -> bool {
    let maps = fs::read(Path::new(&format!("/proc/{tid}/maps"))).unwrap_or_default();
    maps.split(|byte| *byte == b'\n')
        .any(|line| is_loader_around(line, address).unwrap_or(false))
}

/// Whether a line of a process's maps is of the loader, and of a place that holds an address.
fn is_loader_around(line: &[u8], address: u64) -> Option<bool> {
    let line = std::str::from_utf8(line).ok()?;
    let (range, rest) = line.split_once(' ')?;
    let (from, to) = range.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    let is_around = (parse(from)?..parse(to)?).contains(&address);
    // `/lib64/ld-linux-x86-64.so.2`, and `ld-2.31.so` before glibc 2.33.
    let name = rest.rsplit_once('/')?.1;
    Some(is_around && name.starts_with("ld-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaders_code_is_told_by_its_place() {
        let line = b"7f10-7f20 r-xp 00001000 fe:00 1 /usr/lib/ld-linux-x86-64.so.2";
        assert_eq!(is_loader_around(line, 0x7f10), Some(true));
        assert_eq!(is_loader_around(line, 0x7f20), Some(false));
        let other = b"7f10-7f20 r-xp 00001000 fe:00 1 /usr/lib/ld-x/libc.so.6";
        assert_eq!(is_loader_around(other, 0x7f10), Some(false));
        assert_eq!(
            is_loader_around(b"7f10-7f20 rw-p 00000000 00:00 0", 0x7f10),
            None
        );
        let own = std::process::id();
        assert!(!is_of_loader(own, is_of_loader as *const () as u64));
    }
}
