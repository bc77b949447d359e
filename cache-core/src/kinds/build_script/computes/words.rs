//! The words that tell what is made of paths.

/// Functions that give a path of the script's own.
pub(super) const FUNCTIONS: [&str; 6] = [
    "absolute",
    "args_os",
    "canonicalize",
    "current_dir",
    "current_exe",
    "read_link",
];

/// What gives the content of files, or what programs say.
pub(super) const READS: [&str; 16] = [
    "WalkDir",
    "exists",
    "glob",
    "is_dir",
    "is_file",
    "metadata",
    "open",
    "output",
    "probe",
    "read",
    "read_dir",
    "read_to_end",
    "read_to_string",
    "spawn",
    "status",
    "try_exists",
];

/// Methods that measure a path, or give a part of it, or of a list of its parts.
pub(super) const TAKES_APART: [&str; 35] = [
    "ancestors",
    "as_encoded_bytes",
    "bytes",
    "char_indices",
    "chars",
    "count",
    "drain",
    "encode_utf16",
    "encode_wide",
    "escape_default",
    "first",
    "into_encoded_bytes",
    "last",
    "len",
    "make_ascii_lowercase",
    "make_ascii_uppercase",
    "next_back",
    "nth",
    "rsplit",
    "rsplit_once",
    "rsplitn",
    "split",
    "split_at",
    "split_first",
    "split_last",
    "split_off",
    "split_once",
    "splitn",
    "strip_prefix",
    "strip_suffix",
    "to_ascii_lowercase",
    "to_ascii_uppercase",
    "to_lowercase",
    "to_uppercase",
    "truncate",
];

/// Methods that give or leave out the end of a path.
pub(super) const ENDS: [&str; 4] = ["file_name", "file_stem", "parent", "pop"];

/// What adds to a path, so that its end is that of something else.
pub(super) const ADDS: [&str; 7] = [
    "concat",
    "extend",
    "format",
    "join",
    "push",
    "with_extension",
    "with_file_name",
];

/// Methods that leave out some of a list, if it is one of the parts of a path.
pub(super) const CHOOSES: [&str; 5] = ["enumerate", "rev", "skip", "take", "zip"];

/// Methods that give parts one by one, which only a loop takes apart.
pub(super) const GIVES_PARTS: [&str; 3] = ["as_bytes", "components", "iter"];

/// Names of hash functions, and of crates that have some.
pub(super) const HASHES: [&str; 28] = [
    "AHasher",
    "Blake2b512",
    "DefaultHasher",
    "Digest",
    "FnvHasher",
    "FxHasher",
    "Hasher",
    "Md5",
    "Sha1",
    "Sha224",
    "Sha256",
    "Sha384",
    "Sha512",
    "SipHasher",
    "SipHasher13",
    "adler",
    "adler32",
    "blake2",
    "blake3",
    "crc",
    "crc32fast",
    "fxhash",
    "hash_one",
    "md5",
    "sha1",
    "sha2",
    "twox_hash",
    "xxhash_rust",
];
