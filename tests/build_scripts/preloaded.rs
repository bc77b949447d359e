//! What must not notice that an object of the observer's is loaded into what a script starts; and
//! that what it notes counts as everything else does.

use std::fs;

use super::{builds, follows, is_cached, project};
use crate::harness::{Case, compare};

/// Compiles `tool.c` with these flags and leaves what the tool prints to both of its streams.
fn tool(flags: &str, run: &str) -> String {
    format!(
        "let tool = out.join(\"tool\"); let tool = tool.to_str().unwrap();\
         let mut cc = vec![\"tool.c\", \"-o\", tool]; cc.extend({flags:?}.split_whitespace());\
         run(\"gcc\", &cc);\
         let output = Command::new(\"sh\").args([\"-c\", {run:?}, \"sh\", tool]).output().unwrap();\
         let said = [output.stdout, output.stderr].concat();\
         leave(String::from_utf8(said).unwrap().trim());"
    )
}

/// Says whether a file is there, and what the loader was told.
const TOOL: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
    int main(void) { const char *p = getenv(\"LD_PRELOAD\"); FILE *f = fopen(\"word\", \"r\");\n\
    char word[9] = \"?\"; if (f) fscanf(f, \"%8s\", word);\n\
    printf(\"%s %d <%s>\", word, access(\"none\", F_OK), p ? p : \"\"); return 0; }\n";

/// Builds with and without the cache after each change of what the tool looks at.
#[track_caller]
fn says(flags: &str, run: &str) -> Case {
    let case = project(&tool(flags, run));
    case.write("tool.c", TOOL).write("word", "one");
    let says = |text: &str| {
        compare(&case, &["build"]).ok();
        assert_eq!(case.printed("debug/app"), text, "{flags} {run}");
    };
    says("one -1 <>");
    case.write("word", "two");
    says("two -1 <>");
    case.write("none", "");
    says("two 0 <>");
    case
}

#[test]
fn tools_of_many_kinds() {
    for (flags, run) in [
        ("", "\"$1\""),
        ("", "exec \"$1\""),
        ("", "env -i \"$1\""),
        ("-static", "\"$1\""),
        // By the name of one that the object is for.
        (
            "-no-pie",
            "cp \"$1\" \"$1-perl\"; \"$1-perl\"; rm \"$1-perl\"",
        ),
        (
            "-static-pie",
            "cp \"$1\" \"$1-sh\"; \"$1-sh\"; rm \"$1-sh\"",
        ),
    ] {
        let case = says(flags, run);
        builds(&case, &[]);
    }
}

#[test]
fn tools_that_would_notice() {
    for (flags, run) in [
        ("-fsanitize=address", "\"$1\""),
        (
            "-fsanitize=address",
            "cp \"$1\" \"$1-make\"; \"$1-make\"; rm \"$1-make\"",
        ),
        ("-fsanitize=undefined", "\"$1\""),
        ("", "chmod u+s \"$1\"; \"$1\"; chmod u-s \"$1\""),
        ("", "ulimit -v 40000; bash -c '\"$1\"' bash \"$1\""),
    ] {
        says(flags, run);
    }
}

#[test]
fn what_else_is_preloaded_stays_so() {
    let run = "LD_PRELOAD=\"${1%tool}other.so\" sh -c 'echo; \"$0\"' \"$1\"";
    let other = "run(\"gcc\", &[\"-shared\", \"-fPIC\", \"other.c\", \"-o\",\
        out.join(\"other.so\").to_str().unwrap()]);";
    let case = project(&format!("{other}{}", tool("", run)));
    case.write(
        "tool.c",
        "#include <stdio.h>\nint answer(void) __attribute__((weak));\n\
        int main(void) { printf(\"%d\", answer ? answer() : 0); return 0; }\n",
    )
    .write("other.c", "int answer(void) { return 42; }\n");
    builds(&case, &["app"]);
    assert_eq!(case.printed("debug/app"), "42");
}

#[test]
fn a_script_that_shows_its_environment() {
    let case = project(
        "let mut all: Vec<String> = env::vars().map(|(name, _)| name).collect();\
         all.extend(run(\"sh\", &[\"-c\", \"env\"]).lines().map(str::to_owned));\
         all.extend(run(\"bash\", &[\"-c\", \"export -p; env\"]).lines().map(str::to_owned));\
         all.retain(|line| line.contains(\"LD_PRELOAD\"));\
         leave(&all.join(\",\"));",
    );
    is_cached(&case, "");
}

/// Each program, and what it starts, sees the search path that cargo set for the script.
#[test]
fn the_search_path_of_the_loader_stays_as_it_is() {
    let case = project(
        "let own = env::var(\"LD_LIBRARY_PATH\").unwrap(); assert!(own.contains(\"deps\"));\
         let show = \"printf %s \\\"$LD_LIBRARY_PATH\\\"\";\
         let python = \"import os; print(os.environ['LD_LIBRARY_PATH'], end='')\";\
         let cleared = \"unset LD_LIBRARY_PATH; sh -c 'printf %s \\\"$LD_LIBRARY_PATH\\\"'\";\
         for _ in 0..2 {\
         assert_eq!(run(\"sh\", &[\"-c\", show]), own);\
         assert_eq!(run(\"bash\", &[\"-c\", &format!(\"sh -c '{show}'\")]), own);\
         assert_eq!(run(\"perl\", &[\"-e\", \"print $ENV{LD_LIBRARY_PATH}\"]), own);\
         assert_eq!(run(\"python3\", &[\"-c\", python]), own);\
         assert_eq!(run(\"sh\", &[\"-c\", cleared]), \"\");\
         assert_eq!(run(\"env\", &[\"LD_LIBRARY_PATH=/x\", \"sh\", \"-c\", show]), \"/x\");\
         let names = run(\"sh\", &[\"-c\", \"env\"]);\
         assert_eq!(names.matches(\"LD_LIBRARY_PATH=\").count(), 1, \"{names}\");\
         }\
         leave(\"same\");",
    );
    is_cached(&case, "same");
}

#[test]
fn headers_on_the_way_to_the_one_that_is_found() {
    let body = "run(\"gcc\", &[\"-c\", \"-Ifirst\", \"-Isecond\", \"a.c\", \"-o\",\
        out.join(\"a.o\").to_str().unwrap()]);\
        run(\"gcc\", &[\"-Ifirst\", \"-Isecond\", \"-DMAIN\", \"a.c\", \"-o\",\
        out.join(\"a\").to_str().unwrap()]);\
        leave(&run(out.join(\"a\").to_str().unwrap(), &[]));";
    let case = project(body);
    case.write(
        "a.c",
        "#include <stdio.h>\n#include <word.h>\n\
        int main(void) { puts(WORD); return 0; }\n",
    )
    .write("first/other.h", "")
    .write("second/word.h", "#define WORD \"second\"\n");
    follows(
        &case,
        "second",
        "first",
        || {
            case.write("first/word.h", "#define WORD \"first\"\n")
                .path("first")
        },
        || case.remove("first/word.h").path("first"),
    );
    case.write("second/word.h", "#define WORD \"third\"\n");
    is_cached(&case, "third");
}

#[test]
fn a_directory_that_somebody_else_changes_after_a_tool_has_listed_it() {
    let case = project(&tool(
        "",
        "cp \"$1\" \"$1-perl\"; \"$1-perl\" \"$1-go\"; rm \"$1-perl\" \"$1-go\"",
    ));
    // Nothing is announced between the listing and the end.
    case.write(
        "tool.c",
        "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <unistd.h>\n#include <sys/syscall.h>\n\
        int main(int c, char **v) { char buf[4096], said; int n = 0;\n\
        int go = open(v[1], O_CREAT | O_WRONLY, 0600), d = open(\"dir\", O_RDONLY | O_DIRECTORY);\n\
        long all = syscall(SYS_getdents64, d, buf, sizeof buf);\n\
        for (long at = 0; at < all; at += *(unsigned short *)(buf + at + 16)) n++;\n\
        write(go, \"1\", 1); said = '0' + n - 2; write(1, &said, 1); sleep(1); return 0; }\n",
    )
    .write("dir/first", "");
    let has_listed = || {
        let scripts = fs::read_dir(case.target().join("debug/build")).ok()?;
        let go = |script: fs::DirEntry| fs::metadata(script.path().join("out/tool-go")).ok();
        scripts.flatten().find_map(go).filter(|go| go.len() > 0)
    };
    std::thread::scope(|scope| {
        let building = scope.spawn(|| case.cargo(&["build"]).ok());
        while has_listed().is_none() && !building.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        case.write("dir/second", "");
    });
    assert_eq!(case.printed("debug/app"), "1");
    case.wipe().cargo(&["build"]).ok();
    assert_eq!(case.printed("debug/app"), "2");
}

#[test]
fn where_a_link_leads_that_a_tool_resolves() {
    let body = "leave(&run(\"perl\", &[\"-MCwd=realpath\", \"-e\",\
        \"print realpath(q(link/x)) =~ m{([^/]+/[^/]+)$}\"]));";
    let case = project(body);
    case.write("one/x", "").write("two/x", "");
    let link = case.path("link");
    let lead_to = |to: &str| {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(to, &link).unwrap();
    };
    lead_to("one");
    follows(
        &case,
        "one/x",
        "two/x",
        || lead_to("two"),
        || lead_to("one"),
    );
}

#[test]
fn files_that_make_and_python_and_bash_look_for() {
    let body = "leave(&[run(\"make\", &[\"-s\", \"-f\", \"rules\"]),\
        run(\"python3\", &[\"-c\", \"import os; print(os.path.exists('more'))\"]),\
        run(\"bash\", &[\"-c\", \"[ -r more ] && . ./more; echo =$x\"])].join(\" \"));";
    let case = project(body);
    case.write("rules", "-include more\nall:\n\t@echo make $(x)\n");
    follows(
        &case,
        "make False =",
        "make 1 True =1",
        || case.write("more", "x=1\n").path("more"),
        || case.remove("more").path("more"),
    );
}

#[test]
fn nothing_is_loaded_where_that_is_not_wanted() {
    let mut case = project(&tool("", "\"$1\""));
    case.write("tool.c", TOOL).write("word", "one");
    case.env("CACHEWRAP_PRELOAD", "off");
    is_cached(&case, "one -1 <>");
    let format = case.cache().join("v1");
    let names = || {
        fs::read_dir(&format)
            .unwrap()
            .map(|e| e.unwrap().file_name())
    };
    assert!(names().all(|name| !name.to_string_lossy().starts_with("preload")));
    case.env("CACHEWRAP_PRELOAD", "auto").write("word", "two");
    is_cached(&case, "two -1 <>");
    let objects = names().filter(|name| name.to_string_lossy().starts_with("preload"));
    assert_eq!(objects.count(), usize::from(cfg!(target_arch = "x86_64")));
}
