//! The model of a workspace: plain values that are written out as a project.

use std::fmt::Write as _;
use std::fs;

use crate::harness::{Case, archive, bin_manifest, lib_manifest, macro_manifest};

/// A splitmix64 generator: small, and the same everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// One library of the workspace; `app` uses all, and each may use those before it.
#[derive(Clone, Debug)]
struct Library {
    name: String,
    dependencies: Vec<String>,
    value: u64,
    modules: [Module; 2],
    included: u64,
    feature: bool,
    build_script: Option<u64>,
    native: Option<u64>,
    uses_macro: bool,
    reads_variable: bool,
    warns: bool,
}

#[derive(Clone, Debug)]
struct Module {
    value: u64,
    in_directory: bool,
}

/// All that can be edited.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    libraries: Vec<Library>,
    macro_version: u64,
    macro_file: Option<u64>,
    macro_listing: u64,
    variable: Option<String>,
    macro_variable: Option<String>,
    opt_level: u64,
    cfg: bool,
    broken: bool,
}

impl Workspace {
    pub(crate) fn generate(random: &mut Random) -> Self {
        let count = 2 + random.below(3);
        let mut libraries: Vec<Library> = Vec::new();
        for index in 0..count {
            let dependencies = libraries
                .iter()
                .map(|library| library.name.clone())
                .filter(|_| random.flip())
                .collect();
            libraries.push(Library::generate(random, index, dependencies));
        }
        Self {
            libraries,
            macro_version: random.below(4),
            macro_file: random.flip().then(|| random.below(4)),
            macro_listing: random.below(3),
            variable: None,
            macro_variable: None,
            opt_level: 0,
            cfg: false,
            broken: false,
        }
    }

    /// Changes one thing and says which.
    pub(crate) fn edit(&mut self, random: &mut Random) -> String {
        if self.broken {
            self.broken = false;
            return "repair the error".into();
        }
        let words = ["", "red", "green"];
        let word = words.get(usize::try_from(random.below(4)).unwrap_or(3));
        let word = word.map(|word| (*word).to_owned());
        match random.below(11) {
            0 => {
                self.macro_version = random.below(4);
                format!("macro version {}", self.macro_version)
            }
            1 => {
                self.macro_file = random.flip().then(|| random.below(4));
                format!("file read by the macro {:?}", self.macro_file)
            }
            2 => {
                self.macro_listing = random.below(3);
                format!("directory listed by the macro {}", self.macro_listing)
            }
            3 => {
                self.variable = word;
                format!("variable of option_env {:?}", self.variable)
            }
            4 => {
                self.macro_variable = word;
                format!("variable of the macro {:?}", self.macro_variable)
            }
            5 => {
                self.opt_level = random.below(2);
                format!("opt-level {}", self.opt_level)
            }
            6 if random.below(3) == 0 => {
                self.cfg = !self.cfg;
                format!("cfg in RUSTFLAGS {}", self.cfg)
            }
            7 if random.below(3) == 0 => {
                self.broken = true;
                "introduce an error".into()
            }
            _ => {
                let count = self.libraries.len() as u64;
                let index = usize::try_from(random.below(count)).unwrap_or(0);
                self.libraries
                    .get_mut(index)
                    .map_or_else(String::new, |library| library.edit(random))
            }
        }
    }

    /// Makes the project what the model says; files of earlier states go.
    pub(crate) fn write(&self, case: &mut Case) {
        let old = fs::read_dir(case.path("")).expect("the project should be readable");
        for entry in old.flatten().filter(|entry| entry.file_name() != "target") {
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
            removed.expect("the old state should be removable");
        }
        self.write_app(case);
        self.write_macro(case);
        for library in &self.libraries {
            library.write(case);
        }
        for (name, value) in [
            ("FLAVOUR", &self.variable),
            ("MACRO_MOOD", &self.macro_variable),
        ] {
            match value {
                Some(value) => case.env(name, value),
                None => case.unset(name),
            };
        }
        if self.cfg {
            case.env("RUSTFLAGS", "--cfg loud");
        } else {
            case.unset("RUSTFLAGS");
        }
    }

    fn write_app(&self, case: &Case) {
        let names: Vec<_> = self
            .libraries
            .iter()
            .map(|library| library.name.as_str())
            .collect();
        let mut features = String::new();
        for library in self.libraries.iter().filter(|library| library.feature) {
            write!(features, "\"{}/extra\", ", library.name).expect("strings can be written to");
        }
        let manifest = bin_manifest("app", &names)
            + &format!(
                "\n[features]\ndefault = [{features}]\n[profile.dev]\nopt-level = {}\n",
                self.opt_level
            );
        case.write("Cargo.toml", manifest);
        let mut main = String::from("fn main() {\n");
        for name in names {
            writeln!(main, "println!(\"{{}}\", {name}::value());")
                .expect("strings can be written to");
        }
        if self.broken {
            main += "let error: u8 = \"text\";\n";
        }
        main += "println!(\"{}\", cfg!(loud));\n}\n#[test]\nfn runs() { main() }\n";
        case.write("src/main.rs", main);
    }

    fn write_macro(&self, case: &Case) {
        case.write("mac/Cargo.toml", macro_manifest("mac")).write(
            "mac/src/lib.rs",
            format!(
                "use proc_macro::{{Literal, TokenStream, TokenTree}};\n#[proc_macro]\n\
                 pub fn text(_: TokenStream) -> TokenStream {{\n\
                 let file = std::fs::read_to_string(\"read.txt\").unwrap_or_default();\n\
                 let count = std::fs::read_dir(\"listed\").map_or(0, |dir| dir.count());\n\
                 let mood = std::env::var(\"MACRO_MOOD\");\n\
                 let text = format!(\"{} {{file}} {{count}} {{mood:?}}\");\n\
                 TokenTree::from(Literal::string(&text)).into() }}\n",
                self.macro_version
            ),
        );
        if let Some(value) = self.macro_file {
            case.write("read.txt", value.to_string());
        }
        for index in 0..self.macro_listing {
            case.write(&format!("listed/{index}"), "");
        }
    }
}

impl Library {
    fn generate(random: &mut Random, index: u64, dependencies: Vec<String>) -> Self {
        let mut module = || Module {
            value: random.below(4),
            in_directory: random.flip(),
        };
        let modules = [module(), module()];
        Self {
            name: format!("lib{index}"),
            dependencies,
            value: random.below(4),
            modules,
            included: random.below(4),
            feature: random.flip(),
            build_script: random.flip().then(|| random.below(4)),
            native: random.flip().then(|| random.below(4)),
            uses_macro: random.flip(),
            reads_variable: random.flip(),
            warns: random.flip(),
        }
    }

    fn edit(&mut self, random: &mut Random) -> String {
        let what = match random.below(10) {
            0 | 1 => {
                self.value = random.below(4);
                "value"
            }
            2 => {
                let [first, second] = &mut self.modules;
                std::mem::swap(&mut first.value, &mut second.value);
                "swapped module bodies"
            }
            3 => {
                let [first, _] = &mut self.modules;
                first.in_directory = !first.in_directory;
                "moved module"
            }
            4 => {
                self.included = random.below(4);
                "included text"
            }
            5 => {
                self.feature = !self.feature;
                "feature"
            }
            6 => {
                self.build_script = random.flip().then(|| random.below(4));
                "build script"
            }
            7 => {
                self.native = random.flip().then(|| random.below(4));
                "native archive"
            }
            8 => {
                self.uses_macro = !self.uses_macro;
                "use of the macro"
            }
            _ => {
                self.warns = !self.warns;
                "warning"
            }
        };
        format!("{}: {what}: {self:?}", self.name)
    }

    fn write(&self, case: &Case) {
        let path = |name: &str| format!("{}/{name}", self.name);
        let mut dependencies: Vec<_> = self.dependencies.iter().map(String::as_str).collect();
        if self.uses_macro {
            dependencies.push("mac");
        }
        case.write(
            &path("Cargo.toml"),
            lib_manifest(&self.name, &dependencies) + "[features]\nextra = []\n",
        )
        .write(&path("src/text.txt"), self.included.to_string());
        for (name, module) in ["first", "second"].iter().zip(&self.modules) {
            let file = if module.in_directory {
                format!("src/{name}/mod.rs")
            } else {
                format!("src/{name}.rs")
            };
            case.write(
                &path(&file),
                format!("pub const N: u64 = {};\n", module.value),
            );
        }
        self.write_build_script(case);
        case.write(&path("src/lib.rs"), self.source());
    }

    /// The build script generates a file and names the native archive.
    fn write_build_script(&self, case: &Case) {
        if self.build_script.is_none() && self.native.is_none() {
            return;
        }
        let mut script =
            String::from("fn main() {\nprintln!(\"cargo::rerun-if-changed=build.rs\");\n");
        if let Some(value) = self.build_script {
            write!(
                script,
                "let out = std::env::var(\"OUT_DIR\").unwrap();\n\
                 std::fs::write(out + \"/generated.rs\", \"pub const G: u64 = {value};\").unwrap();\n"
            )
            .expect("strings can be written to");
        }
        if let Some(value) = self.native {
            let dir = case.root().join("native");
            let function = format!("native_{}", self.name);
            archive(
                &dir.join(format!("lib{function}.a")),
                &format!("int {function}(void) {{ return {value}; }}\n"),
            );
            write!(
                script,
                "println!(\"cargo::rustc-link-search={}\");\n\
                 println!(\"cargo::rustc-link-lib=static={function}\");\n",
                dir.display()
            )
            .expect("strings can be written to");
        }
        case.write(&format!("{}/build.rs", self.name), script + "}\n");
    }

    fn source(&self) -> String {
        let mut items = String::from("mod first;\nmod second;\n");
        let mut parts = vec![
            format!("{}.to_string()", self.value),
            "first::N.to_string()".into(),
            "(second::N * 10).to_string()".into(),
            "include_str!(\"text.txt\").to_string()".into(),
            "cfg!(feature = \"extra\").to_string()".into(),
            "format!(\"{}:{}\", file!(), line!())".into(),
        ];
        parts.extend(
            self.dependencies
                .iter()
                .map(|name| format!("{name}::value()")),
        );
        if self.build_script.is_some() {
            items += "include!(concat!(env!(\"OUT_DIR\"), \"/generated.rs\"));\n";
            parts.push("G.to_string()".into());
        }
        if self.native.is_some() {
            let function = format!("native_{}", self.name);
            writeln!(items, "extern \"C\" {{ fn {function}() -> i32; }}")
                .expect("strings can be written to");
            parts.push(format!("unsafe {{ {function}() }}.to_string()"));
        }
        if self.uses_macro {
            parts.push("mac::text!().to_string()".into());
        }
        if self.reads_variable {
            parts.push("format!(\"{:?}\", option_env!(\"FLAVOUR\"))".into());
        }
        let warning = if self.warns { "let unused = 1;\n" } else { "" };
        format!(
            "{items}pub fn value() -> String {{\n{warning}[{}].join(\" \")\n}}\n",
            parts.join(", ")
        )
    }
}
