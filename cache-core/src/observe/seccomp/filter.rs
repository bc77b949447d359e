//! The filter: the small program that the kernel runs at every system call, made of the rows of
//! `calls`.

use libc::{c_long, sock_filter};

use super::calls::{self, Test};
use super::events::Depth;
use super::ring;
use super::sys::{ARCH, X32};

// Offsets in `struct seccomp_data`; arguments are 64 bits wide, low half first on both
// architectures.
const OFFSET_NR: u32 = 0;
const OFFSET_ARCH: u32 = 4;
const OFFSET_ADDRESS: u32 = 8;
const OFFSET_ARGS: u32 = 16;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

fn instruction(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The program for a depth: calls of the depth's rows are announced, and those of another
/// architecture, whose numbers mean something else; all others go on. Where the page of the preloaded
/// object is trusted, calls that are made from there go on too.
pub(super) fn program(depth: Depth, trusts_page: bool) -> Vec<sock_filter> {
    let number = |call: c_long| u32::try_from(call).unwrap_or(u32::MAX);
    let announce = || instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0);
    let allow = || instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0);
    let mut program = vec![
        instruction(LOAD, OFFSET_ARCH, 0, 0),
        instruction(JUMP_EQUAL, ARCH, 1, 0),
        announce(),
        instruction(LOAD, OFFSET_NR, 0, 0),
        instruction(JUMP_AT_LEAST, X32, 0, 1),
        announce(),
    ];
    for row in calls::rows(depth) {
        match row.test {
            None => {
                program.push(instruction(JUMP_EQUAL, number(row.call), 0, 1));
                program.push(if trusts_page {
                    instruction(JUMP, 0, 0, 0)
                } else {
                    announce()
                });
            }
            Some(Test {
                argument,
                values,
                announces,
            }) => {
                let values_left = |at: usize| u8::try_from(values.len() - at).unwrap_or(u8::MAX);
                program.push(instruction(
                    JUMP_EQUAL,
                    number(row.call),
                    0,
                    values_left(0) + 3,
                ));
                program.push(instruction(LOAD, OFFSET_ARGS + 8 * argument, 0, 0));
                for (at, value) in values.iter().enumerate() {
                    program.push(instruction(JUMP_EQUAL, *value, values_left(at), 0));
                }
                let (otherwise, with) = if announces {
                    (allow(), announce())
                } else {
                    (announce(), allow())
                };
                program.push(otherwise);
                program.push(with);
            }
        }
    }
    program.push(allow());
    let end = program.len();
    for (at, instruction) in program.iter_mut().enumerate() {
        if instruction.code == JUMP {
            instruction.k = u32::try_from(end - at - 1).unwrap_or(u32::MAX);
        }
    }
    // Only here, after the number: the kernel knows by numbers which calls need no look at all.
    let address = ring::RETURN as u64;
    let half = |shift: u32| u32::try_from((address >> shift) & u64::from(u32::MAX));
    let (low, high) = (half(0).unwrap_or(0), half(32).unwrap_or(0));
    program.extend([
        instruction(LOAD, OFFSET_ADDRESS, 0, 0),
        instruction(JUMP_EQUAL, low, 0, 3),
        instruction(LOAD, OFFSET_ADDRESS + 4, 0, 0),
        instruction(JUMP_EQUAL, high, 0, 1),
        allow(),
        announce(),
    ]);
    program
}
