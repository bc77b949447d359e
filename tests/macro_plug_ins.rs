//! Libraries that a macro loads itself, under names that are not those of libraries.

use std::os::unix::fs::symlink;
use std::process::Command;

use crate::harness::{Case, bin_manifest, compare, macro_manifest};

/// `app` prints what the function `word` of a library gives that its macro loads from `plug`.
fn project() -> Case {
    let case = Case::new();
    case.write("Cargo.toml", bin_manifest("app", &["mac"]))
        .write(
            "src/main.rs",
            "fn main() { println!(\"{}\", mac::text!()); }",
        )
        .write("mac/Cargo.toml", macro_manifest("mac"))
        .write(
            "mac/src/lib.rs",
            "use std::ffi::{CStr, CString, c_char, c_void};\n\
             use proc_macro::{Literal, TokenStream, TokenTree};\n\
             unsafe extern \"C\" {\n\
             fn dlopen(path: *const c_char, flags: i32) -> *mut c_void;\n\
             fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;\n}\n\
             #[proc_macro]\npub fn text(_: TokenStream) -> TokenStream {\n\
             let path = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../plug\");\n\
             let path = CString::new(path).unwrap();\n\
             let text = unsafe {\n\
             let word = dlsym(dlopen(path.as_ptr(), 2), c\"word\".as_ptr());\n\
             let word: extern \"C\" fn() -> *const c_char = std::mem::transmute(word);\n\
             CStr::from_ptr(word()).to_str().unwrap().to_owned()\n};\n\
             TokenTree::from(Literal::string(&text)).into()\n}\n",
        );
    case
}

#[test]
fn a_plug_in_reads_a_variable() {
    for is_link in [false, true] {
        let mut case = project();
        case.write(
            "plug.c",
            "#include <stdlib.h>\nconst char *word(void) { return getenv(\"MY_FLAVOUR\"); }\n",
        );
        let library = if is_link { "libplug.so" } else { "plug" };
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-o", library, "plug.c"]);
        let status = cc.current_dir(case.path("")).status();
        assert!(status.expect("there is a compiler").success());
        if is_link {
            symlink(library, case.path("plug")).unwrap();
        }
        for word in ["one", "two"] {
            case.env("MY_FLAVOUR", word);
            compare(&case, &["build"]).ok();
            assert_eq!(case.printed("debug/app"), word);
        }
        compare(&case, &["build"]).ok().compiles(&[]);
    }
}
