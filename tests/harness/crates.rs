//! Short manifests for projects that are written inline.

/// A manifest of edition 2021 with the given sections after `[package]`.
///
/// The empty `[workspace]` keeps cargo from looking for one above the temporary directory.
pub(crate) fn manifest(name: &str, sections: &str) -> String {
    format!("{}\n[workspace]\n", member_manifest(name, sections))
}

fn member_manifest(name: &str, sections: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{sections}\n")
}

/// A package with `src/main.rs` that depends on packages in subdirectories of their names.
pub(crate) fn bin_manifest(name: &str, dependencies: &[&str]) -> String {
    manifest(name, &dependency_section("", dependencies))
}

/// A library below the project that depends on its siblings.
pub(crate) fn lib_manifest(name: &str, dependencies: &[&str]) -> String {
    member_manifest(name, &dependency_section("../", dependencies))
}

/// A proc-macro package below the project.
pub(crate) fn macro_manifest(name: &str) -> String {
    member_manifest(name, "[lib]\nproc-macro = true")
}

fn dependency_section(prefix: &str, dependencies: &[&str]) -> String {
    use std::fmt::Write as _;

    let mut section = String::from("[dependencies]\n");
    for dependency in dependencies {
        writeln!(
            section,
            "{dependency} = {{ path = \"{prefix}{dependency}\" }}"
        )
        .expect("writing to a string cannot fail");
    }
    section
}
