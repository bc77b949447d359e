//! `remote keygen`: a key to sign with.

use std::io::Write as _;
use std::path::PathBuf;

use cache_core::remote::SecretKey;

use super::super::args::KeygenArgs;
use super::super::context::Context;
use super::super::files;
use super::super::output::{Failure, quoted};

pub(super) fn run(cx: &mut Context, args: &KeygenArgs) -> Result<(), Failure> {
    let path = match &args.file {
        Some(path) => cx.cwd.join(path),
        None => default_path(cx)?,
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|e| Failure::Failed(format!("the system has no random numbers: {e}")))?;
    let key = SecretKey::of_seed(seed);
    files::create_private(&path, &format!("{}\n", key.reveal()))?;
    let (file, public) = (quoted(&path), key.public());
    writeln!(
        cx.out,
        "Wrote a secret key to {file}. Only machines whose results are to be trusted may have it.\n\n\
         These machines send what they make:\n  \
           export CACHEWRAP_REMOTE_SIGN_KEY_FILE={file}\n\
         All machines take what was signed with it:\n  \
           export CACHEWRAP_REMOTE_TRUSTED={public}"
    )?;
    Ok(())
}

fn default_path(cx: &Context) -> Result<PathBuf, Failure> {
    let absolute = |name: &str| {
        let path = PathBuf::from(cx.env.get_nonempty(name)?);
        path.is_absolute().then_some(path)
    };
    let dir = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let dir =
        dir.ok_or_else(|| Failure::Usage("name a file for the key: HOME is not set".into()))?;
    Ok(dir.join("cachewrap/remote-sign.key"))
}
