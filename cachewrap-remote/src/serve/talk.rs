//! One connection: a wrapper says whose build it is of, and asks.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cache_core::remote::{Answer, Asked, Hello, read_message, write_message};

use super::flights::{Wanted, failed, fetch};
use super::{Server, projects};

/// How often a wrapper that waits hears that it does not do so in vain.
const SIGN: Duration = Duration::from_millis(250);

/// How long writing a few bytes may take.
const WRITING: Duration = Duration::from_secs(5);

/// Answers until the other side ends, or makes no sense.
pub(super) fn talk(server: &Arc<Server>, stream: UnixStream) {
    let _ = converse(server, stream);
}

fn converse(server: &Arc<Server>, mut stream: UnixStream) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITING))?;
    let Some(Hello { build, dir }) = read_message(&mut stream)? else {
        return Ok(());
    };
    server.life.meet(build);
    if let Some(dir) = dir {
        projects::meet(server, &dir);
    }
    while let Some(asked) = read_message(&mut stream)? {
        server.life.note();
        let wanted = match asked {
            Asked::Offers(key) => Wanted::Offers(key),
            Asked::Result(key, result) => Wanted::Result(key, result),
            Asked::Send => {
                server.sender.wake();
                continue;
            }
            _ => {
                write_message(&mut stream, &failed("asked for what is not known here"))?;
                continue;
            }
        };
        let flight = fetch(server, wanted);
        let answer = loop {
            match flight.wait(SIGN) {
                Some(answer) => break answer,
                None => write_message(&mut stream, &Answer::Working)?,
            }
        };
        write_message(&mut stream, &answer)?;
    }
    Ok(())
}
