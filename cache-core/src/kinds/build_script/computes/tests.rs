use super::rust::may_compute;
use super::*;

#[test]
fn texts_that_name_a_path_and_take_it_apart() {
    for text in [
        "echo ${#OUT_DIR}",
        "basename $PWD",
        "echo $OUT_DIR | md5sum",
        "cd .. && pwd",
        "print(len(os.getcwd()))",
        "x=$1; echo ${x%/*}",
        "print(os.getcwd()[:3])",
        "hashlib.md5(os.environ['OUT_DIR'].encode())",
    ] {
        assert!(in_text(text.as_bytes(), &[]), "{text}");
    }
    for text in [
        "echo said > $OUT_DIR/x",
        "cp a.h \"$OUT_DIR\"/include",
        "md5sum data.bin",
        "open(os.path.join(os.environ['OUT_DIR'], 'x'), 'w')",
    ] {
        assert!(!in_text(text.as_bytes(), &[]), "{text}");
    }
}

#[test]
fn makefiles_that_take_apart_where_they_are() {
    for text in [
        "N := $(words $(subst /, ,$(CURDIR)))",
        "a:\n\techo $$OUT_DIR | wc -c",
    ] {
        assert!(in_makefile(text.as_bytes()), "{text}");
    }
    let finds = "D := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))\nO := $(notdir $(S))\n";
    assert!(!in_makefile(finds.as_bytes()));
    assert!(is_makefile(Path::new("a/Makefile")) && !is_makefile(Path::new("a/make.c")));
}

#[test]
fn scripts_are_told_by_their_names() {
    let is = |name: &str, begins: &str| is_script(Path::new(name), || begins.into());
    assert!(is("gen.py", "") && is("tool", "#!/bin/sh") && is("a/x.sh", ""));
    assert!(!is("configure", "#!/bin/sh") && !is("a.c", "#!") && !is("LICENSE", "MIT"));
}

fn computes(source: &str) -> bool {
    may_compute(&[source.as_bytes().to_vec()], &["DEP_Z_ROOT".into()])
}

#[test]
fn finding_files_and_writing_paths_down_is_no_computing() {
    for source in [
        r#"fn main() { let n = [1, 2].len(); println!("{n}"); }"#,
        r#"fn main() { let out = env::var("OUT_DIR").unwrap(); fs::write(format!("{out}/x"), "y"); let v: Vec<u8> = vec![]; v.len(); }"#,
        r#"fn main() { let out = PathBuf::from(env::var_os("OUT_DIR").unwrap()); let t = fs::read_to_string(out.join("x")).unwrap(); t.len(); t.replace("/", "_"); }"#,
        r#"fn main() { let out = env::var("OUT_DIR").unwrap(); Command::new("sh").arg("-c").arg("echo said > $OUT_DIR/x"); }"#,
        r#"fn main() { let d = env::current_dir().unwrap(); for e in fs::read_dir(d.join("src")).unwrap() { e.unwrap().file_name(); } }"#,
        r#"fn main() { let d = env::var("CARGO_MANIFEST_DIR").unwrap().replace('\\', "/"); println!("cargo:root={d}"); }"#,
        r#"fn main() { let mut h = DefaultHasher::new(); h.write(b"x"); }"#,
        r#"use core::hash::{Hash, Hasher}; impl Hash for A { fn hash<H: Hasher>(&self, state: &mut H) { self.0.hash(state) } } fn main() { let o = env::var("OUT_DIR").unwrap(); writeln!(File::create(o + "/x").unwrap(), "x"); }"#,
        r#"fn name(d: &Path, s: &Path) -> PathBuf { d.join(s.file_name().unwrap()) } fn main() { let d = PathBuf::from(env::var("OUT_DIR").unwrap()); cc.file(name(&d, Path::new("a.c"))); }"#,
        r#"fn get(name: &str) -> String { env::var(name).unwrap() } fn main() { let o = get("OUT_DIR"); let t = get("TARGET").to_uppercase(); }"#,
        r#"fn main() { let d = env::var("DEP_Z_VERSION").unwrap(); leave(d.len()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); if o.contains(' ') { panic!("a blank"); } }"#,
        r#"fn main() { for (name, value) in env::vars() { if name.starts_with("CARGO_FEATURE_") { names.push(name); } } }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); for f in fs::read_dir(&o).unwrap() { f.unwrap().file_name().len(); } }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let add = |name: &str| cc.file(name); add("a.c"); cc.out_dir(&o); "x".len(); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); match fs::read(&o) { Ok(b) => b.len(), Err(_) => 0 }; }"#,
        r#"fn main() { let v = fs::read("in").unwrap(); let text = T.replace("@prefix@", &env::var("OUT_DIR").unwrap()); write(&text, v.len()); }"#,
    ] {
        assert!(!computes(source), "{source}");
    }
}

#[test]
fn measuring_hashing_and_taking_apart_is() {
    for source in [
        r#"fn main() { leave(env::var("OUT_DIR").unwrap().len()); }"#,
        r#"fn main() { let out = env::var("OUT_DIR").unwrap(); leave(&out[3..]); }"#,
        r#"fn main() { let out = env::var("OUT_DIR").unwrap(); let d = Path::new(&out); leave(d.file_name()); }"#,
        r#"fn main() { leave(str::len(env!("CARGO_MANIFEST_DIR"))); }"#,
        r#"const DIR: &str = env!("CARGO_MANIFEST_DIR"); fn main() { leave(DIR.len()); }"#,
        r"fn main() { leave(env::current_dir().unwrap().ancestors().count()); }",
        r"fn main() { leave(env::args().next().unwrap().len()); }",
        r#"fn dir() -> String { env::var("OUT_DIR").unwrap() } fn main() { leave(dir().chars().count()); }"#,
        r#"fn dir() -> String { let d = env::var("OUT_DIR").unwrap(); d } fn main() { let x = dir(); leave(x.len()); }"#,
        r#"fn sum(s: &str) -> u32 { let mut n = 0; for b in s.as_bytes() { n += b; } n } fn main() { let d = env::var("OUT_DIR").unwrap(); leave(sum(&d)); }"#,
        r#"fn main() { if let Some(d) = env::var_os("OUT_DIR") { leave(d.len()); } }"#,
        r#"fn main() { match env::var("OUT_DIR") { Ok(d) => leave(d.len()), Err(_) => {} } }"#,
        r#"fn main() { let n = env::var("OUT_DIR").map(|d| d.len()).unwrap(); }"#,
        r#"struct C { out: String } fn main() { let c = C { out: env::var("OUT_DIR").unwrap() }; leave(c.out.len()); }"#,
        r#"fn main() { let mut s = String::new(); s.push_str(&env::var("OUT_DIR").unwrap()); leave(s.len()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let s = format!("-{o}-"); leave(s.to_uppercase()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let mut h = DefaultHasher::new(); o.hash(&mut h); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(blake3::hash(o.as_bytes())); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o.replace('/', "_")); leave(o.replace(|c| c == '/', "")); }"#,
        r#"fn main() { Command::new("sh").args(["-c", "echo ${#OUT_DIR}"]); }"#,
        r#"fn main() { Command::new("sh").args(["-c", "basename $PWD"]); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o.contains("release")); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o.find('e')); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o.as_str() < "/m"); if o > x { } }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o.into_bytes().into_iter().fold(0, add)); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(format!("{:.5}", o)); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(format!("{:?}", o.as_bytes())); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let v: Vec<u8> = o.into(); leave(v); }"#,
        r#"fn main() { let p = PathBuf::from(env::var_os("OUT_DIR").unwrap()); for part in &p { n += 1; } }"#,
        r#"fn main() { let d = if debug { "x".into() } else { env::var("OUT_DIR").unwrap() }; leave(d.rmatches('/')); }"#,
        r#"fn main() { for d in [env::var("OUT_DIR").unwrap(), other] { leave(d.rmatches('/')); } }"#,
        r"fn main() { for (name, value) in env::vars() { leave(value.rmatches('/')); } }",
        r#"fn main() { leave(env::var(concat!("OUT", "_DIR")).unwrap().rmatches('/')); }"#,
        r#"fn main() { let n = concat!("OUT", "_DIR"); leave(env::var(n).unwrap().rmatches('/')); }"#,
        r#"fn main() { let (n, o) = (1, env::var("OUT_DIR").unwrap()); leave(o.rmatches('/')); }"#,
        r#"fn main() { let dirs = [env::var("OUT_DIR").unwrap()]; for d in &dirs { leave(d.rmatches('/')); } }"#,
        r#"fn main() { let d = env::var("DEP_Z_ROOT").unwrap(); leave(d.len()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(Command::new("expr").args(["length", &o])); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(Command::new("/bin/sh").args(["-c", "x=$1; echo ${#x}", "-", &o])); }"#,
        r#"fn main() { fs::write("g.c", "int n = sizeof(__FILE__);"); }"#,
        r#"fn main() { let n: Vec<usize> = env::vars().filter(|(n, _)| n.ends_with("_DIR")).map(|(_, v)| v.len()).collect(); }"#,
        r"fn main() { let n: usize = env::vars().map(|(_, v)| v.len()).sum(); }",
        r#"fn main() { let n: usize = env::vars_os().filter(|(n, _)| n == "OUT_DIR").map(|(_, value)| value.len()).sum(); }"#,
        r#"fn main() { let v: HashMap<String, String> = env::vars().collect(); leave(v["OUT_DIR"].len()); }"#,
        r#"fn main() { let v: HashMap<String, String> = env::vars().collect(); leave(v.get("OUT_DIR").unwrap().len()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let mut b = [0; 9]; let n = o.as_bytes().read(&mut b).unwrap(); leave(n); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let n = file.write(o.as_bytes()).unwrap(); leave(n); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let n = io::copy(&mut o.as_bytes(), &mut f).unwrap(); leave(n); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let c = o.clone(); std::thread::spawn(move || leave(c.len())); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let l = String::len(&o); leave(l); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let f = |s: &str| s.len(); leave(f(&o)); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave([&o].iter().map(|s| s.len()).sum::<usize>()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let (a, b) = o.split_at(4); leave(a); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").ok().map(String::from).map(|x| x.into_bytes()).unwrap(); leave(o.len()); }"#,
        r#"static O: &str = env!("OUT_DIR"); fn f() -> usize { O.len() } fn main() { leave(f()); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); let z: u32 = o.chars().map(|c| c as u32).sum(); leave(z); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(o == "/x"); }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); if o.len() > 100 { panic!() } }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); match o.as_str() { "/x" => leave(1), _ => leave(2) } }"#,
        r#"fn main() { let o = env::var("OUT_DIR").unwrap(); leave(matches!(o.as_str(), "/x")); }"#,
        r#"fn main() { let o = PathBuf::from(env::var("OUT_DIR").unwrap()); leave(o.iter().count()); }"#,
        r#"fn main() { let o = PathBuf::from(env::var("OUT_DIR").unwrap()); leave(o.parent().unwrap().file_name()); }"#,
        r#"fn main() { let o = PathBuf::from(env::var("OUT_DIR").unwrap()); leave(o.components().count()); }"#,
        r#"use std::hash::{Hash, Hasher}; impl Hash for A { fn hash<H: Hasher>(&self, state: &mut H) { self.0.hash(state) } } fn main() { let a = A(env::var("OUT_DIR").unwrap()); let mut h = Sum(0); a.hash(&mut h); leave(h.0); }"#,
        r#"use std::hash::{Hash, Hasher}; impl Hash for A { fn hash<H: Hasher>(&self, state: &mut H) { let mut sum = Sum(0); env::var("OUT_DIR").unwrap().hash(&mut sum); leave(sum.0); } } fn main() {}"#,
        r#"use std::hash::Hasher; fn main() { let b = env::var("OUT_DIR").unwrap().into_bytes(); let mut h = Of::default(); h.write(&b); leave(h.value()); }"#,
        r#"use std::hash::Hasher; impl Hasher for Sum { fn write(&mut self, bytes: &[u8]) { self.0 += bytes[0]; } } fn main() { let o = env::var("OUT_DIR").unwrap(); give(&o, Sum(0)); }"#,
        "no tokens ' \"",
    ] {
        assert!(computes(source), "{source}");
    }
}
