//! Puts the outcome of a compilation into a store by hand, and gets it out again.
//!
//! ```sh
//! cargo run -p cache-core --example store
//! ```

use std::error::Error;
use std::fs;

use cache_core::entry::{
    BlobRef, CompileResult, Content, EnvValue, Input, InputManifest, KeyHasher, ManifestKey,
    Output, Role, Template, result_key,
};
use cache_core::{Digest, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = Store::new(dir.path().join("cache"), false);

    // The key holds all that is known before compiling. Every field has a tag, and
    // neighbouring fields cannot be confused.
    let mut hasher = KeyHasher::new("example");
    hasher.str("compiler", "examplec 1.0");
    hasher.os("argument", "--optimise".as_ref());
    let key = ManifestKey(hasher.finish());

    // Nothing has been stored, which is no error.
    assert_eq!(store.manifest(key)?, None);

    // What was written goes in first, by content.
    let written = dir.path().join("greeting.o");
    fs::write(&written, b"machine code")?;
    let blob = store.put_blob(&written, |_piece| ())?;
    assert_eq!(blob, BlobRef::of(b"machine code"));

    // Then the result that names it, and last the manifest that names the result: whoever
    // finds one finds all that it needs.
    let inputs = vec![Input::Env {
        name: b"GREETING".to_vec(),
        value: EnvValue::Set(Template::literal("hello")),
    }];
    let result = result_key(key, &inputs);
    store.put_result(
        result,
        &CompileResult {
            unit: "greeting (example)".to_owned(),
            toolchain: Digest::of(b"examplec 1.0"),
            outputs: vec![Output {
                role: Role::InOutDir("greeting.o".to_owned()),
                executable: false,
                content: Content::Blob(blob),
            }],
            included: Vec::new(),
            stdout: Template::default(),
            stderr: Template::literal("warning: hello is not a word\n"),
            status: 0,
            duration_us: 1500,
            created: 0,
        },
    )?;
    let mut manifest = InputManifest::default();
    manifest.add(inputs, result);
    store.put_manifest(key, &manifest)?;

    // The way back: from the key to the manifest, the result, the output.
    let manifest = store.manifest(key)?.ok_or("no manifest")?;
    let set = manifest.sets().first().ok_or("no input set")?;
    for (_, input) in manifest.inputs_of(set) {
        println!("to be checked: {input:?}");
    }
    let found = store.result(set.result)?.ok_or("no result")?;
    let restored = dir.path().join("restored.o");
    for blob in found.blobs() {
        // Verified while it is copied, and under its name only when it is whole.
        let placed = store.place(blob, &restored, false)?.ok_or("no blob")?;
        placed.commit()?;
    }
    assert_eq!(fs::read(&restored)?, b"machine code");
    println!("{}: restored, {} bytes", found.unit, blob.len);
    Ok(())
}
