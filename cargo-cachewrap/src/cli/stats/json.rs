//! For programs. Keys stay what they are.

use cache_core::Config;
use cache_core::store::stats::{COMPILATIONS, SCRIPT_RUNS, STORED_BYTES};
use serde_json::{Value, json};

use super::Stats;

pub(super) fn of(stats: &Stats, config: &Config) -> Value {
    let (counters, usage) = (&stats.counters, &stats.contents.usage);
    let known = &stats.contents.known;
    let toolchains = usage.toolchains.iter().map(|(digest, results)| {
        let known = known.iter().find(|known| known.digest == *digest);
        json!({
            "digest": digest.to_hex(),
            "version": known.map(|known| &known.version),
            "results": results,
        })
    });
    json!({
        "hits": counters.get(COMPILATIONS.hit),
        "misses": counters.get(COMPILATIONS.miss),
        "bypasses": counters.get(COMPILATIONS.bypass),
        "hit_rate": counters.hit_rate(&COMPILATIONS),
        "saved_us": counters.get(COMPILATIONS.saved_us),
        "compile_us": counters.get(COMPILATIONS.took_us),
        "build_scripts": {
            "hits": counters.get(SCRIPT_RUNS.hit),
            "misses": counters.get(SCRIPT_RUNS.miss),
            "bypasses": counters.get(SCRIPT_RUNS.bypass),
            "hit_rate": counters.hit_rate(&SCRIPT_RUNS),
            "saved_us": counters.get(SCRIPT_RUNS.saved_us),
            "run_us": counters.get(SCRIPT_RUNS.took_us),
        },
        "stored_bytes": counters.get(STORED_BYTES),
        "counters": counters.0,
        "cache": {
            "dir": config.dir.display().to_string(),
            "max_size": *config.max_size,
            "size": usage.size,
            "results": usage.results,
            "hit_results": usage.hit_results,
            "manifests": usage.manifests,
            "blobs": usage.blobs,
            "compressed_blobs": usage.compressed_blobs,
            "blob_size": usage.blob_size,
        },
        "toolchains": toolchains.collect::<Vec<_>>(),
    })
}
