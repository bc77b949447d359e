//! Variables that macros ask for: what they were heard to ask for counts, and what their code only names does not.

use crate::harness::{Case, compare};
use crate::proc_macros::project;

/// A name that stands nowhere in the macro's code.
const COMPUTED: &str = "let name: String = \"EULAV_DETUPMOC\".chars().rev().collect();\
    std::env::var(name).unwrap_or_default()";

#[test]
fn a_name_that_a_macro_computes() {
    let mut case = project("direct", COMPUTED);
    compare(&case, &["build"]).ok();
    for value in ["one", "two"] {
        case.env("COMPUTED_VALUE", value);
        compare(&case, &["build"]).ok().compiles(&["app"]);
        assert_eq!(case.printed("debug/app"), format!("{value:?}"));
    }
    case.unset("COMPUTED_VALUE");
    compare(&case, &["build"]).ok().compiles(&[]);
    assert_eq!(case.printed("debug/app"), "\"\"");
}

#[test]
fn a_name_that_a_macro_only_knows() {
    let mut case = project(
        "direct",
        "if std::path::Path::new(\"ask\").exists() { std::env::var(\"CARGO_MANIFEST_DIR\").unwrap() } \
         else { std::env::var(\"NAMED_BY_CODE\").unwrap_or_default() }",
    );
    case.env("NAMED_BY_CODE", "one");
    compare(&case, &["build"]).ok();
    case.copy_project("elsewhere");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.env("NAMED_BY_CODE", "two");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    // Now it asks for the directory, and for nothing else.
    case.write("ask", "");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.env("NAMED_BY_CODE", "three");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.copy_project("third");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

/// Compiles for each value of a variable, once.
fn follows(case: &mut Case, name: &str) {
    for value in ["one", "two"] {
        case.env(name, value);
        compare(case, &["build"]).ok().compiles(&["app"]);
    }
    case.env(name, "one");
    compare(case, &["build"]).ok().compiles(&[]);
}

#[test]
fn ways_to_the_environment_that_are_not_heard() {
    for body in [
        "std::env::vars().map(|(name, value)| format!(\"{name}={value} \")).filter(|v| v.starts_with(\"SEEN_\")).collect()",
        "String::from_utf8(std::process::Command::new(\"sh\").args([\"-c\", \"echo $SEEN_VALUE\"]).output().unwrap().stdout).unwrap()",
        "unsafe extern \"C\" { fn secure_getenv(name: *const i8) -> *const i8; } \
         let value = unsafe { secure_getenv(c\"SEEN_VALUE\".as_ptr().cast()) }; \
         unsafe { std::ffi::CStr::from_ptr(value.cast()) }.to_str().unwrap().to_owned()",
        "unsafe extern \"C\" { fn dlsym(library: *const u8, name: *const i8) -> Option<extern \"C\" fn(*const i8) -> *const i8>; } \
         let getenv = unsafe { dlsym(std::ptr::null(), c\"secure_getenv\".as_ptr().cast()) }; \
         let value = getenv.unwrap()(c\"SEEN_VALUE\".as_ptr().cast()); \
         unsafe { std::ffi::CStr::from_ptr(value.cast()) }.to_str().unwrap().to_owned()",
    ] {
        let mut case = project("direct", body);
        case.env("SEEN_VALUE", "none");
        compare(&case, &["build"]).ok();
        follows(&mut case, "SEEN_VALUE");
    }
}

#[test]
fn threads_and_statics_of_a_macro_are_heard() {
    let mut case = project(
        "reexported",
        "static ONCE: std::sync::OnceLock<String> = std::sync::OnceLock::new(); \
         std::thread::spawn(|| ONCE.get_or_init(|| { \
           let name: String = [\"KC\", \"AB\"].iter().rev().flat_map(|p| p.chars().rev()).collect(); \
           std::env::var_os(name).unwrap_or_default().into_string().unwrap() }).clone()).join().unwrap()",
    );
    compare(&case, &["build"]).ok();
    follows(&mut case, "BACK");
}

/// The loader hands the environment to such a function.
#[test]
fn a_function_that_the_loader_calls() {
    let mut case = project(
        "direct",
        "static SEEN: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());\
         extern \"C\" fn start(_: i32, _: *const *const i8, mut all: *const *const i8) { unsafe { while !(*all).is_null() {\
           let text = std::ffi::CStr::from_ptr((*all).cast()).to_str().unwrap_or_default();\
           if let Some(value) = text.strip_prefix(\"SEEN_VALUE=\") { SEEN.lock().unwrap().push_str(value); }\
           all = all.add(1); } } }\
         #[used] #[unsafe(link_section = \".init_array\")]\
         static START: extern \"C\" fn(i32, *const *const i8, *const *const i8) = start;\
         let _ = std::env::var(\"ANOTHER\"); SEEN.lock().unwrap().clone()",
    );
    case.env("SEEN_VALUE", "none");
    compare(&case, &["build"]).ok();
    follows(&mut case, "SEEN_VALUE");
}

#[test]
fn without_the_object_names_are_inferred() {
    let mut case = project(
        "direct",
        "std::env::var(\"NAMED_BY_CODE\").unwrap_or_default()",
    );
    case.env("CACHEWRAP_PRELOAD", "off");
    compare(&case, &["build"]).ok();
    follows(&mut case, "NAMED_BY_CODE");
    // Both are right for each other.
    case.unset("CACHEWRAP_PRELOAD");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.env("NAMED_BY_CODE", "three");
    compare(&case, &["build"]).ok().compiles(&["app"]);
    case.env("CACHEWRAP_PRELOAD", "off");
    compare(&case, &["build"]).ok().compiles(&[]);
    case.env("NAMED_BY_CODE", "four");
    compare(&case, &["build"]).ok().compiles(&["app"]);
}

#[test]
fn very_many_variables_and_very_long_names() {
    let many =
        "(0..20_000).map(|n| std::env::var(format!(\"V{n}\")).unwrap_or_default()).collect()";
    let mut case = project("direct", many);
    compare(&case, &["build"]).ok();
    follows(&mut case, "V19999");
    let long = "std::env::var(\"LONG\".repeat(150)).unwrap_or_default()";
    let mut case = project("direct", long);
    compare(&case, &["build"]).ok();
    // It cannot be noted, so nothing is stored.
    for value in ["one", "two", "one"] {
        case.env(&"LONG".repeat(150), value);
        compare(&case, &["build"]).ok().compiles(&["app"]);
    }
}
