//! What is written down, byte by byte: digests, keys, and manifests in their encoding.

pub(crate) mod codec;
pub(crate) mod digest;
pub(crate) mod key;
pub(crate) mod manifest;
